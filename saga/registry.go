package saga

import (
	"context"
	"fmt"
)

// Definitions returns the versions of all definitions that services have
// registered, by name.
func (c *Client) Definitions(ctx context.Context) (map[string][]string, error) {
	return c.store.DefinitionVersions(ctx)
}

// Definition returns a graph that a service has registered, or an error that
// matches store.ErrNotFound. It runs nothing: see [ParseDefinition].
func (c *Client) Definition(ctx context.Context, name, version string) (*Definition, error) {
	graph, err := c.store.Definition(ctx, name, version)
	if err != nil {
		return nil, fmt.Errorf("definition %q in version %q: %w", name, version, err)
	}
	return definitionFrom(graph)
}
