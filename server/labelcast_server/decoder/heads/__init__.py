"""Teachers' heads, by which a decoder process makes logits of hidden states."""

from labelcast_server.decoder.heads.head_files import HeadFiles, decoder_key

__all__ = ["HeadFiles", "decoder_key"]
