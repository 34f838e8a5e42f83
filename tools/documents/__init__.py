"""What measures how well documents are read: by whom, without the answer, and hostile ones."""
