package queue

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// TestEndpointClients holds that endpoints whose configurations have one HTTP client
// share its connections, and that subscribing again and again keeps nothing.
func TestEndpointClients(t *testing.T) {
	one, other := awshttp.NewBuildableClient(), awshttp.NewBuildableClient()
	clients := map[string]aws.HTTPClient{"a": one, "b": one, "c": other, "d": nil}
	c := &endpointClients{awsFor: func(e Endpoint) aws.Config { return aws.Config{HTTPClient: clients[e.Name]} }, shared: NewHTTPClient()}
	made := map[string]aws.HTTPClient{}
	for range 100 {
		for name := range clients {
			made[name] = c.config(Endpoint{Name: name}).HTTPClient
		}
	}
	if made["a"] != made["b"] || made["a"] == made["c"] || made["d"] != c.shared {
		t.Errorf("the clients are %v", made)
	}
	if n := len(c.made); n != 2 {
		t.Errorf("%d clients are kept, want 2", n)
	}
	c.close()
}
