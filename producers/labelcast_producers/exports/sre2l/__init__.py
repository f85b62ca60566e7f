"""Label sets → files in SRe2L's layout."""

from labelcast_producers.exports.sre2l.writing import (
    INDICES_NAME,
    LOGIT_TYPES,
    ExportReport,
    export_sre2l,
)

__all__ = ["INDICES_NAME", "LOGIT_TYPES", "ExportReport", "export_sre2l"]
