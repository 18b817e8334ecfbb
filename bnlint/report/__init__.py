"""One file per output format; each turns findings into text and knows no engine."""

#: the names of the output formats; the first is for people, the third and later ones for programs
FORMATS = ("full", "concise", "json", "json-lines", "sarif", "github", "gitlab", "junit")
