"""`labelcast relabel-text` with models of transformers and GGUF files."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.codec.latent import HeadSpec
from labelcast.errors import CodecFormatError, InvalidRequestError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import model_head
from labelcast.views import Views
from tests.factories.command import run_labelcast


def run(*words: object, status: int = 0) -> str:
    """What the command printed; the one line of the error where it fails."""
    done = run_labelcast("relabel-text", *map(str, words), "--quiet", "--device", "cpu")
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def refused(*words: object) -> str:
    return " ".join(run(*words, status=1).split())


def own(path: Path, **given: Any) -> tuple[Any, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(path, **given)
    model = transformers.AutoModelForCausalLM.from_pretrained(path, **given)
    return model.eval(), tokenizer


def head_spec(read: LabelSetDirectory) -> HeadSpec:
    language = read.manifest.contract.language
    assert language is not None
    assert language.head is not None
    return language.head


def gap_to(model: Any, tokens: list[int], read: LabelSetDirectory, sample: int) -> float:
    """Largest difference between decoded logits and the model's own."""
    count = read.manifest.contract.num_classes
    with torch.inference_mode():
        wanted = model(torch.tensor([tokens])).logits[0, :, :count].numpy()
    samples = np.full(len(tokens), sample, dtype=np.uint64)
    views = Views(samples, np.arange(len(tokens), dtype=np.uint32))
    return float(np.abs(read.decoder().decode(read.gather(views), views) - wanted).max())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "granite", "cohere", "phi"])
def test_labels_are_the_logits_of_the_family(
    family: str, model_directories: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    out, directory = tmp_path / "out", model_directories[family]
    words = ("--model", directory, "--text", text, "--out", out, "--codec", "hidden:fp32")
    printed = json.loads(run(*words, "--max-length", 50, "--json"))
    assert printed["padding"] == 320 - 297
    assert printed["next_token"]["positions"] > 20
    model, tokenizer = own(directory)
    first = tokenizer((text / "b" / "a.txt").read_text()).input_ids
    last = tokenizer((text / "c.txt").read_text()).input_ids
    pieces = [first[at : at + 50] for at in range(0, len(first), 50)] + [last]
    read = LabelSetDirectory(out)
    assert read.index().lengths(np.arange(len(pieces), dtype=np.uint64)).tolist() == [
        len(piece) for piece in pieces
    ]
    for sample, piece in enumerate(pieces):
        assert gap_to(model, piece, read, sample) < 2e-4
    spec = head_spec(read)
    assert (spec.bias, spec.scale, spec.softcap) == {
        "gemma2": (False, 1.0, 3.0),
        "granite": (False, 0.4, None),
        "cohere": (False, 0.25, None),
        "phi": (True, 1.0, None),
    }.get(family, (False, 1.0, None))


def test_labels_are_the_logits_of_a_gguf_file(gguf_file: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (empty := text / "none.txt").write_text("\n")
    words = ("--model", gguf_file, "--text", text, "--out", out, "--codec", "hidden:fp32")
    done = run_labelcast("relabel-text", *map(str, words), "--quiet", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    # Neither bars nor reports of the libraries are among them.
    first, *others = done.stderr.splitlines()
    assert first == f"note: {empty} holds no text and is left out"
    assert all(line.startswith("note: ") for line in others)
    model, tokenizer = own(gguf_file.parent, gguf_file=gguf_file.name)
    tokens = tokenizer((text / "c.txt").read_text()).input_ids
    read = LabelSetDirectory(out)
    sample = len(read.index().sample_ids) - 1
    assert gap_to(model, tokens, read, sample) < 2e-4


@pytest.mark.parametrize("kept", [10, 3000, -100])
def test_a_truncated_gguf_file_is_refused(
    kept: int, gguf_file: Path, text: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf_file.read_bytes()[:kept])
    said = refused("--model", cut, "--text", text, "--out", tmp_path / "out")
    assert "copy it again if it is cut off" in said


def test_codecs_of_probabilities(
    model_directories: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    for codec in ("topk:8:lumped", "topk:20B", "sampled", "distillkit"):
        words = ("--model", model_directories["llama"], "--text", text, "--codec", codec)
        printed = run(*words, "--temperature", 2, "--out", tmp_path / codec)
        assert "the next token has a log-probability of" in printed
        assert LabelSetDirectory(tmp_path / codec).manifest.head is None


def test_bf16_models_are_proven_within_their_rounding(
    model_directories: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    words = ("--model", model_directories["gemma2"], "--text", text, "--dtype", "bfloat16")
    run(*words, "--out", tmp_path / "out", "--document-per", "line")
    assert head_spec(LabelSetDirectory(tmp_path / "out")).dtype == "bf16"


def test_what_cannot_be_read_is_refused_in_one_line(
    model_directories: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    llama, out = model_directories["llama"], ("--out", tmp_path / "out")
    usual = ("--model", llama, "--text", text, *out)
    bare = refused("--model", model_directories["bare"], "--text", text, *out)
    assert "lacks lm_head.weight, which would be drawn at random" in bare
    assert "save the model with its head" in bare
    for family in ("llama", "gpt2"):
        longer = ("--model", model_directories[family], "--text", text, *out, "--max-length", 80)
        assert "cut them with --max-length 64" in refused(*longer)
    for codec in (
        "hidden:int4",
        "topk",
        "topk:x",
        "raw:fp16",
        "sampled:x",
        "distillkit:x",
        "sampled:-1",
    ):
        assert "is no codec of token labels; use" in refused(*usual, "--codec", codec)
    for codec in ("topk:0", "topk:298", "sampled:0"):
        assert "must be 1 to" in refused(*usual, "--codec", codec)
    assert "leave --temperature out with hidden" in refused(*usual, "--temperature", 2)
    assert "is not there; give a directory of a transformers model" in refused(
        "--model", tmp_path / "none", "--tokenizer", llama, "--text", text, *out
    )
    assert "give its tokenizer with --tokenizer" in refused(
        "--model", "tests.factories.language_models:Recurrent", "--text", text, *out
    )
    assert "give --tokenizer a directory with" in refused(*usual, "--tokenizer", tmp_path / "no")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "save the model with save_pretrained" in refused(
        "--model", empty, "--tokenizer", llama, "--text", text, *out
    )
    assert "give the directory of a model" in refused(
        "--model", text / "c.txt", "--tokenizer", llama, "--text", text, *out
    )
    assert "is no torch module" in refused(
        "--model", "collections:OrderedDict", "--tokenizer", llama, "--text", text, *out
    ).replace("not torch.nn.Module; name a module", "is no torch module")


def test_a_torch_module_by_import_path(
    model_directories: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    words = ("--model", "tests.factories.language_models:Recurrent", "--model-args", '{"seed": 4}')
    words += ("--tokenizer", model_directories["llama"], "--text", text)  # type: ignore[assignment]
    run(*words, "--out", tmp_path / "out", "--model-name", "recurrent", "--no-head")
    read = LabelSetDirectory(tmp_path / "out")
    assert read.manifest.contract.teacher_name == "recurrent"
    assert head_spec(read).width == 32


def test_another_tokenizer_than_the_model_s_is_refused(
    model_directories: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    """As many tokens under other IDs: nothing else would tell."""
    llama, others = model_directories["llama"], tmp_path / "others"
    shutil.copytree(llama, others)
    path = others / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = [token for token, number in vocabulary.items() if number in (60, 61)]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(tokenizer))
    words = ("--text", text, "--out", tmp_path / "out", "--codec", "hidden:fp32")
    said = refused("--model", llama, "--tokenizer", others, *words)
    assert "leave --tokenizer out, or move away the one that is not the model's" in said
    # What it says.
    run("--model", llama, *words)
    run("--model", llama, "--tokenizer", llama, *words)


@pytest.mark.parametrize("family", ["gemma2", "phi"])
def test_a_head_that_is_only_named_comes_from_the_teacher(
    family: str, model_directories: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    words = ("--model", model_directories[family], "--text", text, "--codec", "hidden:fp32")
    run(*words, "--out", tmp_path / "with", "--max-length", 50)
    run(*words, "--out", tmp_path / "without", "--max-length", 50, "--no-head")
    whole, named = LabelSetDirectory(tmp_path / "with"), LabelSetDirectory(tmp_path / "without")
    views = whole.index().segments[0].views()[:20]
    model, _ = own(model_directories[family])
    named.use_head(model_head(model, named.contract.num_classes))
    np.testing.assert_array_equal(
        named.labels(views.sample_ids, views.seeds), whole.labels(views.sample_ids, views.seeds)
    )
    with pytest.raises(CodecFormatError, match="use the teacher's own"):
        named.use_head(model_head(model, named.contract.num_classes + 1))
    with pytest.raises(InvalidRequestError, match="give the model that made the labels"):
        model_head(model, 10_000)


def test_a_guess_is_told(model_directories: dict[str, Path], text: Path, tmp_path: Path) -> None:
    words = ("--model", model_directories["llama"], "--text", text, "--out", tmp_path / "out")
    done = run_labelcast("relabel-text", *map(str, words), "--quiet", "--device", "cpu")
    assert "no likelier than a guess would" in done.stderr
    assert "23 columns of the logits have no token" in done.stderr
