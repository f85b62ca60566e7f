"""The producers that store epochs of mixed batches: how to tell them apart, what each stores."""
