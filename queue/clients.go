package queue

import (
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// endpointClients makes the configurations of endpoints that have their own,
// and closes the connections of the clients that are made from them.
type endpointClients struct {
	awsFor func(Endpoint) aws.Config
	shared aws.HTTPClient // of those that bring none

	mu        sync.Mutex
	closeIdle []func()
}

// config returns the endpoint's configuration, ready for a client.
func (c *endpointClients) config(e Endpoint) aws.Config {
	users := c.awsFor(e)
	if users.HTTPClient == nil {
		users.HTTPClient = c.shared
	}
	made := clientConfig(users)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeIdle = append(c.closeIdle, idleCloser(users.HTTPClient, made.HTTPClient))
	return made
}

// close closes the idle connections.
func (c *endpointClients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, closeIdle := range c.closeIdle {
		closeIdle()
	}
}
