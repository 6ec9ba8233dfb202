package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/headway-sh/headway/apiserver/kind"
)

// catalog is everything that is served, by group and version.
type catalog struct{ groups []*group }

type group struct {
	name     string
	versions []*version // the preferred one first
}

type version struct {
	gv        schema.GroupVersion
	resources []metav1.APIResource // a resource's subresources follow it
}

// allVerbs are a kind's verbs when the table does not name them.
var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

func newCatalog(kinds []*kind.Kind, extra map[schema.GroupVersion][]metav1.APIResource) *catalog {
	c := &catalog{}
	for _, k := range kinds {
		for _, row := range k.Rows() {
			v := c.version(row.GVK.GroupVersion())
			v.resources = append(v.resources, resources(row)...)
		}
	}
	for _, gv := range sortedKeys(extra) {
		v := c.version(gv)
		v.resources = append(v.resources, extra[gv]...)
	}
	for _, g := range c.groups {
		slices.SortStableFunc(g.versions, func(a, b *version) int {
			return -apiversion.CompareKubeAwareVersionStrings(a.gv.Version, b.gv.Version)
		})
		for _, v := range g.versions {
			slices.SortStableFunc(v.resources, func(a, b metav1.APIResource) int { return cmp.Compare(a.Name, b.Name) })
		}
	}
	return c
}

func (c *catalog) version(gv schema.GroupVersion) *version {
	at := slices.IndexFunc(c.groups, func(g *group) bool { return g.name == gv.Group })
	if at < 0 {
		at = len(c.groups)
		c.groups = append(c.groups, &group{name: gv.Group})
	}
	g := c.groups[at]
	for _, v := range g.versions {
		if v.gv == gv {
			return v
		}
	}
	v := &version{gv: gv}
	g.versions = append(g.versions, v)
	return v
}

// resources are a kind's own entry and those of its subresources.
func resources(k *kind.Kind) []metav1.APIResource {
	verbs := k.Verbs
	if verbs == nil {
		verbs = allVerbs
	}
	stored := k.Stored().GVK
	sum := sha256.Sum256([]byte(stored.Group + "/" + stored.Version + "/" + stored.Kind))
	list := []metav1.APIResource{{
		Name: k.Plural, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.GVK.Kind,
		Verbs: slices.Sorted(slices.Values(verbs)), ShortNames: k.ShortNames, Categories: k.Categories,
		StorageVersionHash: base64.StdEncoding.EncodeToString(sum[:8]),
	}}
	for _, name := range slices.Sorted(maps.Keys(k.Subresources)) {
		sub := k.Subresources[name]
		r := metav1.APIResource{Name: k.Plural + "/" + name, Namespaced: k.Namespaced, Kind: k.GVK.Kind, Verbs: slices.Sorted(slices.Values(sub.Verbs))}
		if sub.GVK.Kind != "" {
			r.Kind = sub.GVK.Kind
			if sub.GVK.GroupVersion() != k.GVK.GroupVersion() {
				r.Group, r.Version = sub.GVK.Group, sub.GVK.Version
			}
		}
		list = append(list, r)
	}
	return list
}

func (v *version) path() string {
	if v.gv.Group == "" {
		return "/api/" + v.gv.Version
	}
	return "/apis/" + v.gv.String()
}

// legacy is the version's own document.
func (v *version) legacy() *metav1.APIResourceList {
	l := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: v.gv.String(), APIResources: v.resources}
	if v.gv.Group == "" {
		l.APIVersion = ""
	}
	return l
}

// legacy is the group's own document.
func (g *group) legacy() *metav1.APIGroup {
	out := g.entry()
	out.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
	return &out
}

func (g *group) entry() metav1.APIGroup {
	out := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: v.gv.String(), Version: v.gv.Version})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func (c *catalog) groupList() *metav1.APIGroupList {
	l := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	for _, g := range c.groups {
		if g.name != "" {
			l.Groups = append(l.Groups, g.entry())
		}
	}
	return l
}

// aggregated is the one document of the core group or of all others.
func (c *catalog) aggregated(core bool) *apidiscovery.APIGroupDiscoveryList {
	l := &apidiscovery.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscovery.SchemeGroupVersion.String()},
		Items:    []apidiscovery.APIGroupDiscovery{},
	}
	for _, g := range c.groups {
		if (g.name == "") != core {
			continue
		}
		item := apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for _, v := range g.versions {
			item.Versions = append(item.Versions, apidiscovery.APIVersionDiscovery{
				Version: v.gv.Version, Freshness: apidiscovery.DiscoveryFreshnessCurrent, Resources: v.aggregated(),
			})
		}
		l.Items = append(l.Items, item)
	}
	return l
}

// aggregated nests the subresources below their resource.
func (v *version) aggregated() []apidiscovery.APIResourceDiscovery {
	var list []apidiscovery.APIResourceDiscovery
	for _, r := range v.resources {
		kindOf := &metav1.GroupVersionKind{Group: cmp.Or(r.Group, v.gv.Group), Version: cmp.Or(r.Version, v.gv.Version), Kind: r.Kind}
		if r.Group == "" && r.Version != "" {
			kindOf.Group = ""
		}
		_, sub, isSub := strings.Cut(r.Name, "/")
		if isSub {
			if len(list) == 0 {
				continue // it sorts behind its resource, so there is one
			}
			parent := &list[len(list)-1]
			parent.Subresources = append(parent.Subresources, apidiscovery.APISubresourceDiscovery{Subresource: sub, ResponseKind: kindOf, Verbs: r.Verbs})
			continue
		}
		scope := apidiscovery.ScopeCluster
		if r.Namespaced {
			scope = apidiscovery.ScopeNamespace
		}
		list = append(list, apidiscovery.APIResourceDiscovery{
			Resource: r.Name, ResponseKind: kindOf, Scope: scope, SingularResource: r.SingularName,
			Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
		})
	}
	return list
}
