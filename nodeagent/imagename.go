package nodeagent

import (
	"encoding/base64"
	"strings"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// dockerHub is the registry of names that carry none.
const dockerHub = "docker.io"

// registryPrefix is a server of a docker configuration as image names begin.
func registryPrefix(server string) string {
	for _, scheme := range []string{"https://", "http://"} {
		server = strings.TrimPrefix(server, scheme)
	}
	server = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(server, "/"), "/v1"), "/v2")
	if server == "index.docker.io" || server == "registry-1.docker.io" {
		return dockerHub
	}
	return server
}

// fullName is an image's name with its registry, without tag and digest.
func fullName(ref string) string {
	name, _, _ := strings.Cut(ref, "@")
	if slash := strings.LastIndex(name, "/"); strings.LastIndex(name, ":") > slash {
		name = name[:strings.LastIndex(name, ":")]
	}
	first, _, many := strings.Cut(name, "/")
	switch {
	case !many:
		return dockerHub + "/library/" + name
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return dockerHub + "/" + name
	}
	return name
}

// credentials reads the login's own fields or its "user:password" in base64.
func (l registryAuth) credentials() *runtime.Credentials {
	c := &runtime.Credentials{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken}
	if l.Auth != "" {
		if plain, err := base64.StdEncoding.DecodeString(l.Auth); err == nil {
			c.Username, c.Password, _ = strings.Cut(string(plain), ":")
		}
	}
	return c
}

// registryAuth is one entry of a docker configuration.
type registryAuth struct{ Username, Password, IdentityToken, Auth string }

// imageName is the name that a container's status shows.
func imageName(asked string, image runtime.Image) string {
	for _, ref := range image.References {
		if !strings.Contains(ref, "@") && fullName(ref) == fullName(asked) {
			return ref
		}
	}
	return asked
}

// imageID is what a container's status shows: a digest that names the content
// in a repository if there is one, else the image's own.
func imageID(image runtime.Image) string {
	for _, ref := range image.References {
		if strings.Contains(ref, "@") {
			return ref
		}
	}
	return image.ID
}

func cutID(id string) (runtimeName, rest string) {
	runtimeName, rest, _ = strings.Cut(id, "://")
	return runtimeName, rest
}
