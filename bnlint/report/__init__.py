"""One file per output format; each turns findings into text and knows no engine."""
