package chartrepo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"

	"sigs.k8s.io/yaml"
)

// index is what an index.yaml says.
type index struct {
	Entries map[string][]struct {
		Version string   `json:"version"`
		Digest  string   `json:"digest"`
		URLs    []string `json:"urls"`
	} `json:"entries"`
}

// reader reads a file of a repository, of at most so many bytes.
type reader func(ctx context.Context, name string, most int64) ([]byte, error)

// fetch gives the archive of a version.
func (r Repository) fetch(ctx context.Context, name, version string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	read, where, done, err := r.open()
	if err != nil {
		return nil, err
	}
	defer done()
	content, err := read(ctx, "index.yaml", MaxIndex)
	if errors.Is(err, fs.ErrNotExist) && where == nil { // a directory of archives
		content, err = read(ctx, name+"-"+version+".tgz", MaxArchive)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s %s %w", name, version, errNoVersion)
		}
		return content, err
	}
	if err != nil {
		return nil, err
	}
	var i index
	if err := yaml.Unmarshal(content, &i); err != nil {
		return nil, errors.New("index.yaml is not an index of charts")
	}
	for _, e := range i.Entries[name] {
		if strings.TrimPrefix(e.Version, "v") != strings.TrimPrefix(version, "v") {
			continue
		}
		digest := strings.TrimPrefix(e.Digest, "sha256:")
		if len(e.URLs) == 0 || len(digest) != 64 {
			return nil, fmt.Errorf("index.yaml names no file or no SHA-256 of %s %s", name, version)
		}
		file, err := inside(where, e.URLs[0])
		if err != nil {
			return nil, err
		}
		content, err := read(ctx, file, MaxArchive)
		if err != nil {
			return nil, err
		}
		if got := digestOf(content); got != digest {
			return nil, fmt.Errorf("%s has the SHA-256 %s, and index.yaml says %s", file, got, digest)
		}
		return content, nil
	}
	return nil, fmt.Errorf("%s %s %w", name, version, errNoVersion)
}

// inside is the name of a file within a repository. An index that leads to
// another host is not followed.
func inside(where *url.URL, name string) (string, error) {
	u, err := url.Parse(name)
	if err != nil {
		return "", errors.New("index.yaml names a file that is not one")
	}
	if !u.IsAbs() && u.Host == "" {
		return u.Path, nil
	}
	if where == nil || u.Scheme != where.Scheme || u.Host != where.Host {
		return "", fmt.Errorf("index.yaml leads to %s: only files of the repository's own host are fetched", u.Host)
	}
	return u.String(), nil
}

// open begins with a repository; where is nil for a directory.
func (r Repository) open() (read reader, where *url.URL, done func(), err error) {
	if u, err := url.Parse(r.URL); err == nil && u.Scheme == "https" {
		client, err := r.client()
		if err != nil {
			return nil, nil, nil, err
		}
		return r.overHTTPS(u, client), u, client.CloseIdleConnections, nil
	}
	dir := strings.TrimPrefix(r.URL, "file://")
	if !path.IsAbs(dir) {
		return nil, nil, nil, errors.New("is neither https, file:// nor an absolute path")
	}
	root, err := os.OpenRoot(dir) // nothing leads out of it
	if err != nil {
		return nil, nil, nil, err
	}
	read = func(_ context.Context, name string, most int64) ([]byte, error) {
		f, err := root.Open(strings.TrimPrefix(path.Clean("/"+name), "/"))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return upTo(f, name, most)
	}
	return read, nil, func() { _ = root.Close() }, nil // only read from
}

func (r Repository) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.CABundle != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(r.CABundle)) {
			return nil, errors.New("the certificate authority is not PEM")
		}
	}
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 || req.URL.Scheme != "https" || req.URL.Host != via[0].URL.Host {
				return fmt.Errorf("redirected to %s: only redirects on the same host are followed", req.URL.Host)
			}
			return nil
		},
	}, nil
}

func (r Repository) overHTTPS(base *url.URL, client *http.Client) reader {
	return func(ctx context.Context, name string, most int64) ([]byte, error) {
		at := name
		if !strings.HasPrefix(name, "https://") {
			at = base.JoinPath(name).String()
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return nil, fmt.Errorf("%s is not a URL", name)
		}
		res, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: the server answers %s", name, res.Status)
		}
		return upTo(res.Body, name, most)
	}
}

func upTo(from io.Reader, name string, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(from, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return content, nil
}
