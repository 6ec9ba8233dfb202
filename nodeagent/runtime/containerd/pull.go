package containerd

import (
	"context"
	"fmt"
	"net/http"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Pull implements runtime.Images. Registries are asked over HTTPS; one on
// this machine's loopback may speak plain HTTP.
func (r *Runtime) Pull(ctx context.Context, ref string, credentials *runtime.Credentials) (runtime.Image, error) {
	full, err := runtime.NormalizeReference(ref)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("pull: %w", err)
	}
	_, err = r.client.Pull(r.in(ctx), full,
		client.WithResolver(resolver(credentials)),
		client.WithPullUnpack,
		client.WithPullSnapshotter(r.config.Snapshotter),
	)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("pull image %q: %w", full, err)
	}
	return r.Image(ctx, full)
}

func resolver(credentials *runtime.Credentials) remotes.Resolver {
	httpClient := &http.Client{Transport: docker.DefaultHTTPTransport(nil)}
	auth := []docker.AuthorizerOpt{docker.WithAuthClient(httpClient)}
	if credentials != nil {
		auth = append(auth, docker.WithAuthCreds(func(string) (user, secret string, err error) {
			if credentials.IdentityToken != "" {
				return "", credentials.IdentityToken, nil
			}
			return credentials.Username, credentials.Password, nil
		}))
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithClient(httpClient),
			docker.WithAuthorizer(docker.NewDockerAuthorizer(auth...)),
			docker.WithPlainHTTP(docker.MatchLocalhost),
		),
	})
}
