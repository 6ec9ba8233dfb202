package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/headway-sh/headway/gitsource/render"
)

// Object is one object that a commit renders to.
type Object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	Origin     string `json:"origin,omitempty"`
	// SHA256 is that of the object as JSON; Secrets have none, whose values could
	// be guessed by it.
	SHA256 string `json:"sha256,omitempty"`
}

// Objects lists a rendered set.
func Objects(set *render.Set) ([]Object, error) {
	out := []Object{}
	for _, o := range set.Objects {
		b := o.Body
		one := Object{APIVersion: b.GetAPIVersion(), Kind: b.GetKind(), Namespace: b.GetNamespace(), Name: b.GetName(), Origin: o.Origin()}
		if one.APIVersion != "v1" || one.Kind != "Secret" {
			text, err := json.Marshal(b.Object)
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", one.Origin, err)
			}
			sum := sha256.Sum256(text)
			one.SHA256 = hex.EncodeToString(sum[:])
		}
		out = append(out, one)
	}
	return out, nil
}

// ImagesOf are the images that the containers and volumes of a rendered set
// name, in order: those of pods and of whatever has a pod's template in it.
func ImagesOf(set *render.Set) []string {
	found := map[string]bool{}
	for _, o := range set.Objects {
		findImages(o.Body.Object, found)
	}
	return slices.Sorted(maps.Keys(found))
}

func findImages(at any, found map[string]bool) {
	switch v := at.(type) {
	case []any:
		for _, e := range v {
			findImages(e, found)
		}
	case map[string]any:
		for key, e := range v {
			list, _ := e.([]any)
			switch key {
			case "containers", "initContainers", "ephemeralContainers":
				for _, c := range list {
					if c, ok := c.(map[string]any); ok {
						addImage(c["image"], found)
					}
				}
			case "volumes":
				for _, c := range list {
					if c, ok := c.(map[string]any); ok {
						if image, ok := c["image"].(map[string]any); ok {
							addImage(image["reference"], found)
						}
					}
				}
			}
			findImages(e, found)
		}
	}
}

func addImage(name any, found map[string]bool) {
	if name, ok := name.(string); ok && name != "" {
		found[name] = true
	}
}
