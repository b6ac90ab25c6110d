"""Drop-in names for code that already uses Captum or Inseq."""
