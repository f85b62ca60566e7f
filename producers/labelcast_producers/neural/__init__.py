"""The home of torch: quantizer, autoencoder, encoders, the decoder process."""
