"""Fitting: dense soft labels → codec, encoder and report."""

from labelcast_producers.fitting.config import FitConfig, parse_fit_config
from labelcast_producers.fitting.fit import FittedCodec, fit, load_fitted
from labelcast_producers.fitting.report import FitReport

__all__ = ["FitConfig", "FitReport", "FittedCodec", "fit", "load_fitted", "parse_fit_config"]
