package queue

import (
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// endpointClients makes the configurations of endpoints that have their own,
// and closes the connections of the clients that are made from them.
type endpointClients struct {
	awsFor    func(Endpoint) aws.Config
	shared    aws.HTTPClient // of those that bring none
	closeIdle func()         // of shared

	mu   sync.Mutex
	made map[*awshttp.BuildableClient]*bufferedClient // by the user's
}

// config returns the endpoint's configuration, ready for a client.
func (c *endpointClients) config(e Endpoint) aws.Config {
	cfg := c.awsFor(e)
	switch users := cfg.HTTPClient.(type) {
	case nil:
		cfg.HTTPClient = c.shared
	case *awshttp.BuildableClient:
		cfg.HTTPClient = c.own(users)
	}
	return clientConfig(cfg)
}

// own returns the client that is made of a user's: one, for all endpoints that have
// it, so that these share its connections.
func (c *endpointClients) own(users *awshttp.BuildableClient) *bufferedClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	made, ok := c.made[users]
	if !ok {
		if c.made == nil {
			c.made = make(map[*awshttp.BuildableClient]*bufferedClient)
		}
		made = queueHTTPClient(users)
		c.made[users] = made
	}
	return made
}

// close closes the idle connections.
func (c *endpointClients) close() {
	if c.closeIdle != nil {
		c.closeIdle()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for users, made := range c.made {
		idleCloser(users, made)()
	}
}
