"""The producers' torch code: quantizer, autoencoder, encoders."""
