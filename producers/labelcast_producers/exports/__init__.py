"""Label sets in the files of other projects."""
