package emulator

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Where an endpoint redirects to is not asked, as with SNS.
func TestRedirectsAreNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	defer other.Close()
	web := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer web.Close()
	client := newHTTPClient()
	defer client.CloseIdleConnections()
	sub := &subscription{topic: new(topic)}
	sub.set.Store(new(subscriptionSettings))
	endpoint := &httpEndpoint{client: client, url: web.URL, sub: sub, slots: make(chan struct{}, 1)}
	if err, again := endpoint.take(t.Context(), &letter{kind: kindNotification}); err == nil || again {
		t.Errorf("a redirect is %v, to be tried again: %t; want an error for good", err, again)
	}
}
