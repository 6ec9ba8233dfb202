package gitsource

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"filippo.io/age"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/chartrepo"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/gitsource/render/helm"
	"github.com/headway-sh/headway/gitsource/render/sops"
	"github.com/headway-sh/headway/gitsource/render/subst"
	"github.com/headway-sh/headway/gitsource/repo"
)

// renderer makes a renderer of a repository, as the source's spec has it. It
// remembers what it rendered last. Charts look objects up in the View, and seen,
// which may be nil, hears of it.
func (s *source) renderer(r *repo.Repository, view func() (txn.View, error), seen *looking) *render.Renderer {
	return render.New(s.rendering(r, view, seen))
}

// rendering is how the source's spec wants a repository rendered.
func (s *source) rendering(r *repo.Repository, view func() (txn.View, error), seen *looking) render.Config {
	cfg := RenderConfig(&s.object.Spec)
	tenancy := Tenants(&cfg, &s.object.Spec)
	cfg.Repo, cfg.Key = r, s.engine.cfg.Key
	cfg.Variables["cluster_name"] = subst.Variable{Value: s.engine.cfg.ClusterName, Tag: "!!str"}
	cfg.Variables["source_name"] = subst.Variable{Value: s.name, Tag: "!!str"}
	secret := s.object.Spec.Decryption
	cfg.Decrypt = func(owner string) ([]age.Identity, error) {
		of, more := secret, s.engine.cfg.AgeKeys
		if owner != "" {
			of, more = tenancy.Decryption(owner), nil
		}
		if of == nil || of.SecretRef == nil {
			return more, nil
		}
		v, err := view()
		if err != nil {
			return nil, fmt.Errorf("view: %w", err)
		}
		ids, err := ageKeys(v, of.SecretRef)
		return append(ids, more...), err
	}
	cfg.Charts.Fetch = FetchCharts(s.engine.charts, cfg.Charts.Repositories)
	if s.object.Spec.Environment != nil { // of what anybody may have pushed
		cfg.Decrypt, cfg.Sealed = nil, true
	}
	cfg.Charts.Cluster = func() (*render.Cluster, error) {
		v, err := view()
		if err != nil {
			return nil, fmt.Errorf("view: %w", err)
		}
		if seen != nil {
			seen.at(v)
		}
		c := &render.Cluster{Lookup: s.lookup(v, tenancy.As(""), seen)}
		c.LookupAs = func(tenant string) helm.Lookup { return s.lookup(v, tenancy.As(tenant), seen) }
		if s.engine.cfg.Capabilities != nil {
			c.KubeVersion, c.APIVersions = s.engine.cfg.Capabilities()
		}
		return c, nil
	}
	return cfg
}

// RenderConfig is how a spec, with its defaults, wants a repository rendered.
func RenderConfig(spec *v1alpha1.GitSourceSpec) render.Config {
	cfg := render.Config{Paths: spec.Paths, Ignore: spec.Ignore, Mode: spec.Render, Charts: render.Charts{Namespace: spec.TargetNamespace}}
	cfg.Variables = make(map[string]subst.Variable, len(spec.Variables)+2)
	for _, v := range spec.Variables {
		cfg.Variables[v.Name] = subst.Variable{Value: v.Value, Tag: variableTags[v.Type]}
	}
	if h := spec.Helm; h != nil {
		cfg.Charts.Release, cfg.Charts.ValuesFiles, cfg.Charts.Mirror = h.ReleaseName, h.ValuesFiles, h.Mirror
		cfg.Charts.Repositories = h.Repositories
		if h.Values != nil && json.Unmarshal(h.Values.Raw, &cfg.Charts.Values) != nil {
			cfg.Charts.Values = nil // validation has seen to it that it is a mapping
		}
	}
	return cfg
}

// FetchCharts takes charts from a spec's repositories through what is kept of
// them.
func FetchCharts(kept *chartrepo.Store, from []v1alpha1.ChartRepository) func(context.Context, string, string) ([]byte, error) {
	repositories := make([]chartrepo.Repository, len(from))
	for i, r := range from {
		repositories[i] = chartrepo.Repository{URL: r.URL, CABundle: string(r.CABundle)}
	}
	return func(ctx context.Context, name, version string) ([]byte, error) {
		return kept.Get(ctx, repositories, name, version)
	}
}

// Tenants has a rendering keep apart what a spec, with its defaults, gives to
// tenants.
func Tenants(cfg *render.Config, spec *v1alpha1.GitSourceSpec) *plan.Tenancy {
	t := plan.NewTenancy(spec)
	if len(spec.Tenants) > 0 {
		cfg.Owner, cfg.Charts.NamespaceOf = t.Owner, t.Namespace
	}
	return t
}

// variableTags are YAML's names of the types.
var variableTags = map[v1alpha1.VariableType]string{
	"": "!!str", v1alpha1.VariableString: "!!str", v1alpha1.VariableInteger: "!!int", v1alpha1.VariableNumber: "!!float", v1alpha1.VariableBoolean: "!!bool",
}

// ageKeys reads the keys in a Secret.
func ageKeys(view txn.View, ref *v1alpha1.SecretReference) ([]age.Identity, error) {
	o, _ := view.Get(txn.Ref{Resource: secrets, Namespace: ref.Namespace, Name: ref.Name})
	secret, ok := o.(*corev1.Secret)
	if !ok {
		return nil, fmt.Errorf("the Secret %s/%s does not exist", ref.Namespace, ref.Name)
	}
	var out []age.Identity
	for _, key := range slices.Sorted(maps.Keys(secret.Data)) {
		ids, err := sops.Identities(string(secret.Data[key]))
		if err != nil {
			return nil, fmt.Errorf("the key %s of the Secret %s/%s is %w", key, ref.Namespace, ref.Name, err)
		}
		out = append(out, ids...)
	}
	return out, nil
}

// needsReopen tells whether a changed spec wants another repository or other
// rendering.
func needsReopen(old, new *v1alpha1.GitSourceSpec) bool {
	part := func(s *v1alpha1.GitSourceSpec) any {
		return []any{s.URL, s.Fallback, s.Interval, s.SecretRef, s.CABundle, s.Ref, readRefs(s), s.Decryption, RenderConfig(s), actors(s)}
	}
	return !reflect.DeepEqual(part(old), part(new))
}
