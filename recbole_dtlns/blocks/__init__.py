"""Work that falls into blocks: on the threads of this process, or as tasks on a Ray cluster, with the same results."""
