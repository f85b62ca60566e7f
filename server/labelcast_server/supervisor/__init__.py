"""Starting the processes of a service, watching over them, stopping them."""
