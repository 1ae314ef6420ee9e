// Package schemaregistry asks a schema registry (Confluent's API) for schemas
// by their id, and registers those of what is published. It remembers what it
// was told: a schema never changes under its id. What the registry does not
// know is asked for again, but ever more seldom; a registry that does not
// answer is waited for, as nobody can tell then whether a message is bad.
package schemaregistry
