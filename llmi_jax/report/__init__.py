"""What people look at: a run's report and single documents as pages or Markdown."""
