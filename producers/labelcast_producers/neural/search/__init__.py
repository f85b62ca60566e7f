"""How an encoder finds codes whose decoding is close to a label."""
