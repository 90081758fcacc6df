package config

import (
	"crypto/tls"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

const addrHint = "want host:port, redis://user:password@host:port/db, or rediss:// for TLS"

// expandRedis takes an address that is a URL apart, within one layer.
func (l *loader) expandRedis(layer map[string]any) {
	addr, _ := layer["addr"].(string)
	source := l.sources["redis/addr"]
	if !strings.Contains(addr, "://") {
		return
	}
	// The address may hold a password, so no error quotes it.
	u, err := url.Parse(addr)
	if err != nil || (u.Scheme != "redis" && u.Scheme != "rediss") || u.Hostname() == "" {
		l.problems.add(source, "redis.addr", "is a URL that does not name a Redis; %s", addrHint)
		layer["addr"] = DefaultRedisAddr // the problem is reported once
		return
	}
	if u.RawQuery != "" || u.Fragment != "" {
		l.problems.add(source, "redis.addr", "is a URL with parameters, which are not known; %s", addrHint)
	}
	parts := map[string]any{"tls": u.Scheme == "rediss"}
	if name := u.User.Username(); name != "" {
		parts["username"] = name
	}
	if password, ok := u.User.Password(); ok {
		parts["password"] = Secret(password)
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		db, err := strconv.Atoi(path)
		if err != nil {
			l.problems.add(source, "redis.addr", "is a URL whose path is not the number of a database; %s", addrHint)
		}
		parts["db"] = db
	}
	for name, value := range parts {
		if _, ok := layer[name]; ok {
			l.problems.add(l.sources[join("redis", name)], "redis."+name, "is set beside a URL in redis.addr that says it too; set it in one place")
		}
		layer[name] = value
		l.sources[join("redis", name)] = source
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	layer["addr"] = net.JoinHostPort(u.Hostname(), port)
}

func (l *loader) checkRedis(r Redis) {
	addrs := splitList(r.Addr)
	for _, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		if n, convErr := strconv.ParseUint(port, 10, 16); err != nil || convErr != nil || n == 0 || host == "" {
			l.problems.add(l.sources["redis/addr"], "redis.addr", "has an address without a host or a port; %s", addrHint)
		}
	}
	if len(addrs) == 0 {
		l.problems.add(l.sources["redis/addr"], "redis.addr", "is empty; %s", addrHint)
	}
	if r.DB < 0 {
		l.problems.add(l.sources["redis/db"], "redis.db", "is %d; want 0 or more", r.DB)
	}
	if r.DB != 0 && len(addrs) > 1 {
		l.problems.add(l.sources["redis/db"], "redis.db", "is %d; a cluster has only database 0", r.DB)
	}
}

// Options returns the options of a go-redis client for this Redis: of a
// cluster's where Addr has several addresses. The caller may change them.
//
//	client := redis.NewUniversalClient(cfg.Redis.Options())
func (r Redis) Options() *redis.UniversalOptions {
	o := &redis.UniversalOptions{
		Addrs:    splitList(r.Addr),
		Username: r.Username,
		Password: string(r.Password),
		DB:       r.DB,
	}
	if r.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o
}
