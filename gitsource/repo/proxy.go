package repo

import (
	"errors"
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

// proxy is the one that the remote names, or nil.
func (m *Remote) proxy() (*url.URL, error) {
	if m.Proxy == "" {
		return nil, nil
	}
	u, err := url.Parse(m.Proxy)
	if err != nil || u.Host == "" {
		return nil, errors.New("the proxy is not a URL") // without showing it: it may carry a password
	}
	return u, nil
}

// direct tells whether a host is reached without the remote's proxy.
func (m *Remote) direct(host string) bool {
	if m.NoProxy == "" {
		return false
	}
	config := httpproxy.Config{HTTPSProxy: "http://proxy.invalid", NoProxy: m.NoProxy}
	through, err := config.ProxyFunc()(&url.URL{Scheme: "https", Host: host})
	return err == nil && through == nil
}
