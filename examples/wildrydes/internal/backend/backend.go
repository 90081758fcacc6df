// Package backend connects the example's processes to queues and Redis.
package backend

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/redis/go-redis/v9"

	"github.com/waybill-dev/waybill/config"
	"github.com/waybill-dev/waybill/queue"
	"github.com/waybill-dev/waybill/store/redisstore"
)

// An Address says where queues and Redis are. It may hold a password, so it
// goes from process to process by a pipe.
type Address struct {
	// File is the configuration file with the endpoints.
	File string `json:"file"`

	// Endpoint is the base URL of SQS and SNS. Empty is AWS itself.
	Endpoint string `json:"endpoint"`

	// Redis is host:port or a redis:// URL.
	Redis string `json:"redis"`

	// Namespace begins the names of the keys in Redis.
	Namespace string `json:"namespace"`
}

// partitions suit a handful of workers.
const partitions = 16

// A Backend is a connection to queues and Redis.
type Backend struct {
	Endpoints *queue.Endpoints
	AWSFor    func(queue.Endpoint) aws.Config // where each is, and by whose credentials
	Redis     redis.UniversalClient
	Store     *redisstore.Store
}

func (a Address) load() (*config.Config, error) {
	return config.Load(
		config.WithFileFlag(a.File),
		config.WithEnviron(environ()),
		config.WithFlag("--endpoint", "aws.endpoint_url", a.Endpoint),
		config.WithFlag("--redis", "redis.addr", a.Redis),
	)
}

// Check reports what is wrong with the address before anything is connected.
func (a Address) Check() error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	_, err = cfg.Endpoints()
	return err
}

// Place returns an address without the credentials that it may hold.
func Place(addr string) string {
	if u, err := url.Parse(addr); err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	return addr
}

// Connect connects to an address, and makes sure that Redis is there. Queues
// are looked up when they are used.
func Connect(ctx context.Context, a Address) (*Backend, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	options := cfg.Redis.Options()
	options.ContextTimeoutEnabled = true // a Redis that never answers is let go of
	b := &Backend{Redis: redis.NewUniversalClient(options)}
	if b.Endpoints, err = cfg.Endpoints(); err == nil {
		b.AWSFor, err = cfg.AWS.LoadFor(ctx, b.Endpoints)
	}
	if err == nil {
		b.Store, err = redisstore.Open(ctx, redisstore.Config{
			Client: b.Redis, Namespace: a.Namespace, Partitions: partitions,
		})
	}
	if err != nil {
		return nil, errors.Join(err, b.Redis.Close())
	}
	return b, nil
}

// environ is the environment without what WAYBILL_ variables say: that is meant
// for programs with queues of their own, which are not the example's to use.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WAYBILL_") })
}

// Close closes the connections.
func (b *Backend) Close() error { return b.Redis.Close() }

// Forget deletes the keys of a namespace.
func (b *Backend) Forget(ctx context.Context, namespace string) error {
	scan := func(ctx context.Context, c redis.Cmdable) error {
		keys := c.Scan(ctx, 0, namespace+":*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := c.Unlink(ctx, keys.Val()).Err(); err != nil {
				return err
			}
		}
		return keys.Err()
	}
	var err error
	if cluster, ok := b.Redis.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return scan(ctx, c) })
	} else {
		err = scan(ctx, b.Redis)
	}
	if err != nil {
		return fmt.Errorf("delete the keys of namespace %s: %w", namespace, err)
	}
	return nil
}
