package config

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// refreshBefore is how long before the end of its session a role is assumed
	// anew: a request is not to arrive with credentials that have just expired.
	refreshBefore = 5 * time.Minute

	// While that fails and the session lasts, it is tried again after
	// refreshPause, for at most refreshTimeout.
	refreshPause   = 15 * time.Second
	refreshTimeout = 10 * time.Second
)

// A roleSession gives an [aws.CredentialsCache] the credentials of an assumed role:
// new ones before the old run out, and the old ones while there are no new ones.
type roleSession struct {
	aws.CredentialsProvider // assumes the role

	mu   sync.Mutex
	ends time.Time // the last session
}

func (s *roleSession) end() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends
}

func (s *roleSession) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if time.Now().Before(s.end()) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, refreshTimeout)
		defer cancel()
	}
	value, err := s.CredentialsProvider.Retrieve(ctx)
	if err != nil || !value.CanExpire {
		return value, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = value.Expires
	value.Expires = value.Expires.Add(-min(refreshBefore, time.Until(value.Expires)/2))
	return value, nil
}

// HandleFailToRefresh returns the credentials that there are while they last.
func (s *roleSession) HandleFailToRefresh(_ context.Context, value aws.Credentials, err error) (aws.Credentials, error) {
	left := time.Until(s.end())
	if left <= 0 || !value.HasKeys() {
		return aws.Credentials{}, err
	}
	value.Expires = time.Now().Add(min(left, refreshPause))
	return value, nil
}
