package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/lru"

	"github.com/headway-sh/headway/api/txn"
)

const (
	// maxAnswer bounds a webhook's answer: a patch of the largest object that
	// can be stored, in base64, fits.
	maxAnswer = 8 << 20
	// keptClients is how many webhooks' connections are kept open.
	keptClients = 200
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	idleConns   = 25
	maxHeader   = 64 << 10
	defaultPort = 443
)

// clients keeps an HTTP client, and so its idle connections, for every way of
// reaching webhooks that was used lately.
type clients struct{ kept *lru.Cache }

func newClients() *clients {
	return &clients{kept: lru.NewWithEvictionFunc(keptClients, func(_ lru.Key, value any) {
		value.(*http.Client).CloseIdleConnections()
	})}
}

func (c *clients) close() { c.kept.Clear() }

// way is how a webhook is reached: its URL as people know it, and the address
// that is dialled for a service.
type way struct {
	url        url.URL
	address    string // host and port; empty: the URL's
	serverName string
	ca         string
}

func wayTo(view txn.View, c *admissionv1.WebhookClientConfig) (way, error) {
	if c.Service == nil {
		if c.URL == nil {
			return way{}, errors.New("webhook configuration must have either service or URL")
		}
		u, err := url.Parse(*c.URL)
		if err != nil {
			return way{}, fmt.Errorf("parse the URL: %w", err)
		}
		return way{url: *u, ca: string(c.CABundle)}, nil
	}
	s, port := c.Service, int32(defaultPort)
	if s.Port != nil {
		port = *s.Port
	}
	w := way{serverName: s.Name + "." + s.Namespace + ".svc", ca: string(c.CABundle)}
	w.url = url.URL{Scheme: "https", Host: net.JoinHostPort(w.serverName, strconv.Itoa(int(port)))}
	if s.Path != nil {
		w.url.Path = *s.Path
	}
	var err error
	w.address, err = endpoint(view, s.Namespace, s.Name, port)
	return w, err
}

type clientKey struct{ serverName, ca string }

func (c *clients) get(w way) (*http.Client, error) {
	key := clientKey{w.serverName, w.ca}
	if known, ok := c.kept.Get(key); ok {
		return known.(*http.Client), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: w.serverName}
	if w.ca != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(w.ca)) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHeader,
		// One connection of HTTP/2 would tie all requests to one endpoint.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	if w.serverName == "" {
		transport.Proxy = http.ProxyFromEnvironment
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	c.kept.Add(key, client)
	return client, nil
}

// post sends a question and reads the answer. Errors are worded with the URL
// that the configuration has.
func (c *clients) post(ctx context.Context, w way, question []byte) ([]byte, error) {
	client, err := c.get(w)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		// Rounded up: the webhook is told how long anybody will listen.
		seconds := (time.Until(deadline) + time.Second - 1).Truncate(time.Second)
		w.url.RawQuery = url.Values{"timeout": {seconds.String()}}.Encode()
	}
	to := w.url
	if w.address != "" {
		to.Host = w.address
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	request.Host = w.url.Host
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, w.worded(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		// Whatever came was cut off by the deadline, or came after it.
		return nil, w.worded(&url.Error{Op: "Post", Err: ctx.Err()})
	case err != nil:
		return nil, w.worded(&url.Error{Op: "Post", Err: err})
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case response.StatusCode >= http.StatusMultipleChoices && response.StatusCode < http.StatusBadRequest:
		return nil, fmt.Errorf("the answer is a redirect (%s), which is not followed", response.Status)
	case response.StatusCode != http.StatusOK:
		const shown = 2048
		return nil, apierrors.NewGenericServerResponse(response.StatusCode, "post", schema.GroupResource{}, "", strings.TrimSpace(string(answer[:min(len(answer), shown)])), 0, true)
	}
	return answer, nil
}

func (w way) worded(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		failed.URL = w.url.String()
	}
	return err
}
