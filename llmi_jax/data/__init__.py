"""Tasks, photographs and demonstrations: where requests come from and in which order they are asked."""
