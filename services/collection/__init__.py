"""Collection: what nobody needs any more goes, of a home and of the artifact store."""
