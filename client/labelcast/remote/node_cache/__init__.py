"""What the processes of one machine keep of label sets, so that no network is needed twice."""
