"""Fitting: dense soft labels → codec, encoder and report."""

from labelcast_server.fitting.config import FitConfig, parse_fit_config
from labelcast_server.fitting.fit import FittedCodec, fit, load_fitted
from labelcast_server.fitting.report import FitReport

__all__ = ["FitConfig", "FitReport", "FittedCodec", "fit", "load_fitted", "parse_fit_config"]
