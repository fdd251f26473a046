"""What a run keeps on disk to be resumable: files, the checkpoint store, the lock."""
