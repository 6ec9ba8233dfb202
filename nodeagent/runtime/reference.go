package runtime

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// NormalizeReference writes an image reference in full, as Kubernetes and
// docker read it: "nginx" is "docker.io/library/nginx:latest". One with a
// digest keeps the digest and loses its tag.
func NormalizeReference(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w", ref, err)
	}
	return named.String(), nil
}

// UserID is the number in an image's USER ("1000", "1000:1000"), nil when it
// is a name. An empty user is root.
func UserID(user string) *int64 {
	user, _, _ = strings.Cut(user, ":")
	if user == "" {
		user = "0"
	}
	id, err := strconv.ParseInt(user, 10, 32)
	if err != nil || id < 0 {
		return nil
	}
	return &id
}
