"""The library `transformers`, imported when a model is read, and kept from printing."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import ModuleType

from labelcast.errors import InvalidRequestError, LabelcastError

_INSTALL = "pip install 'labelcast[language]'"


@contextmanager
def quiet_transformers(path: Path) -> Iterator[ModuleType]:
    """Give the library to a block that reads a model's files.

    Its bars and reports are switched off for the block: what matters of them is an error here.

    Args:
        path: what is read, for messages.

    Raises:
        InvalidRequestError: the library is missing, or the block fails, whatever it raises.
    """
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise InvalidRequestError(f"there is no {error.name}; {_INSTALL}") from None
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        # The bar of a GGUF file heeds no switch.
        with redirect_stderr(io.StringIO()):
            yield transformers
    except LabelcastError:
        raise
    # Files of a model are anybody's, and readers of them raise anything.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        if "accelerate" in reason or isinstance(error, ImportError):
            raise InvalidRequestError(f"cannot read {path}: {reason}; {_INSTALL}") from None
        whole = "copy it again if it is cut off" if path.suffix == ".gguf" else "is it a model's?"
        raise InvalidRequestError(
            f"cannot read {path} ({type(error).__name__}: {reason}); {whole}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
