"""What to say if a part of labelcast is not installed."""

# Modules that an extra brings, by the names under which they are imported.
_MODULES = {
    "producers": {"PIL", "matplotlib", "pyarrow", "pydantic", "torch", "tqdm", "yaml"},
    "server": {
        "fastapi",
        "grpc_health",
        "grpc_reflection",
        "prometheus_client",
        "psutil",
        "pydantic",
        "pydantic_settings",
        "redis",
        "starlette",
        "torch",
        "uvicorn",
    },
}


def advice(error: ModuleNotFoundError, extra: str | None) -> str | None:
    """One line that says what to install, or None where an extra would not bring the module.

    Args:
        error: error of an import.
        extra: extra of the distribution that brings what the commands import.
    """
    module = (error.name or "").partition(".")[0]
    if extra is None or module not in _MODULES[extra]:
        return None
    return f"{module} is not installed, and this command needs it: pip install 'labelcast[{extra}]'"
