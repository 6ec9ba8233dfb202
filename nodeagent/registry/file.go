package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// File is what an administrator says of registries: k3s' registries.yaml.
type File struct {
	// Mirrors are asked in order before the registry itself, by the registry's
	// name; "*" is for those that are not named.
	Mirrors map[string]Mirror `json:"mirrors"`
	// Configs are by the name of a registry or of a mirror's endpoint.
	Configs map[string]HostConfig `json:"configs"`
}

// Mirror is where a registry's images are, too.
type Mirror struct {
	Endpoints []string `json:"endpoint"`
	// Rewrites change the names of images on their way to the mirror.
	Rewrites map[string]string `json:"rewrite"`
}

// HostConfig is how one host is reached.
type HostConfig struct {
	Auth *struct {
		Username      string `json:"username"`
		Password      string `json:"password"`
		Auth          string `json:"auth"`
		IdentityToken string `json:"identity_token"`
	} `json:"auth"`
	TLS *struct {
		CAFile             string `json:"ca_file"`
		CertFile           string `json:"cert_file"`
		KeyFile            string `json:"key_file"`
		InsecureSkipVerify bool   `json:"insecure_skip_verify"`
	} `json:"tls"`
}

// Endpoint is one place where a registry's images are.
type Endpoint struct {
	// URL has scheme, host and perhaps a path before the API's; nil: the registry
	// itself.
	URL *url.URL
	// Rewrite changes an image's repository; nil: not at all.
	Rewrite func(repository string) string
	// TLS is nil where the machine's own authorities are believed.
	TLS *tls.Config
	// Credentials are the node's own; nil: it has none.
	Credentials *runtime.Credentials
}

// ReadFile reads the file; one that is not there says nothing.
func ReadFile(path string) (*File, error) {
	f := &File{}
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return f, nil
	}
	if err == nil {
		err = yaml.UnmarshalStrict(text, f)
	}
	if err != nil {
		return nil, fmt.Errorf("registries of %s: %w", path, err)
	}
	for name := range f.Mirrors {
		if _, err := f.mirrors(name); err != nil {
			return nil, fmt.Errorf("registries of %s: mirror of %s: %w", path, name, err)
		}
	}
	return f, nil
}

// Endpoints are the places to ask for a registry's images, in order; the last
// one is the registry itself.
func (f *File) Endpoints(registry string) ([]Endpoint, error) {
	name := registry
	if _, ok := f.Mirrors[name]; !ok {
		name = "*"
	}
	all, err := f.mirrors(name)
	if err != nil {
		return nil, err
	}
	own := Endpoint{}
	if err := f.configure(&own, registry); err != nil {
		return nil, err
	}
	return append(all, own), nil
}

func (f *File) mirrors(name string) ([]Endpoint, error) {
	m := f.Mirrors[name]
	rewrite, err := rewriter(m.Rewrites)
	if err != nil {
		return nil, err
	}
	var all []Endpoint
	for _, text := range m.Endpoints {
		if !strings.Contains(text, "://") {
			text = "https://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("endpoint %q is not http(s)://HOST[:PORT][/PATH]", text)
		}
		e := Endpoint{URL: u, Rewrite: rewrite}
		if err := f.configure(&e, u.Host); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// rewriter applies the first of the rules that matches, in their own order.
func rewriter(rules map[string]string) (func(string) string, error) {
	type rule struct {
		from *regexp.Regexp
		to   string
	}
	var all []rule
	for from, to := range rules {
		r, err := regexp.Compile(from)
		if err != nil {
			return nil, fmt.Errorf("rewrite %q: %w", from, err)
		}
		all = append(all, rule{r, to})
	}
	if len(all) == 0 {
		return nil, nil
	}
	slices.SortFunc(all, func(a, b rule) int { return strings.Compare(a.from.String(), b.from.String()) })
	return func(repository string) string {
		for _, r := range all {
			if r.from.MatchString(repository) {
				return r.from.ReplaceAllString(repository, r.to)
			}
		}
		return repository
	}, nil
}

// configure adds what the file says of a host.
func (f *File) configure(e *Endpoint, host string) error {
	c, ok := f.Configs[host]
	if !ok {
		return nil
	}
	if a := c.Auth; a != nil {
		e.Credentials = &runtime.Credentials{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
		if a.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			if err != nil {
				return fmt.Errorf("auth of %s: %w", host, err)
			}
			e.Credentials.Username, e.Credentials.Password, _ = strings.Cut(string(plain), ":")
		}
	}
	if c.TLS == nil {
		return nil
	}
	e.TLS = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.TLS.InsecureSkipVerify} //nolint:gosec // the administrator says so
	if c.TLS.CAFile != "" {
		text, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return fmt.Errorf("authority of %s: %w", host, err)
		}
		e.TLS.RootCAs = x509.NewCertPool()
		if !e.TLS.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("authority of %s: %w", host, errors.New(c.TLS.CAFile+" has no certificate"))
		}
	}
	if c.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return fmt.Errorf("certificate for %s: %w", host, err)
		}
		e.TLS.Certificates = []tls.Certificate{pair}
	}
	return nil
}
