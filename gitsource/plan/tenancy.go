package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/render"
	"github.com/headway-sh/headway/internal/pathglob"
)

// Tenancy tells whose an object of a source is, who it is written as, and how
// far it may reach. It is of one spec and never changes.
type Tenancy struct {
	spec     *v1alpha1.GitSourceSpec
	own      *txn.Identity
	tenants  map[string]*v1alpha1.Tenant
	accounts map[string]*txn.Identity // by tenant
	taken    map[txn.Ref]string       // accounts, and whose they are
}

// NewTenancy makes the Tenancy of a spec with its defaults.
func NewTenancy(spec *v1alpha1.GitSourceSpec) *Tenancy {
	t := &Tenancy{spec: spec, tenants: map[string]*v1alpha1.Tenant{}, accounts: map[string]*txn.Identity{}, taken: map[txn.Ref]string{}}
	t.own = t.account("", spec.Account)
	for i := range spec.Tenants {
		tenant := &spec.Tenants[i]
		t.tenants[tenant.Name] = tenant
		if t.accounts[tenant.Name] = t.account(tenant.Name, tenant.Account); t.accounts[tenant.Name] == nil {
			t.accounts[tenant.Name] = t.own
		}
	}
	return t
}

func (t *Tenancy) account(whose string, of func() (namespace, name string)) *txn.Identity {
	namespace, name := of()
	if name == "" {
		return nil
	}
	t.taken[accountRef(namespace, name)] = whose
	return &txn.Identity{Name: userPrefix + namespace + ":" + name}
}

const userPrefix = "system:serviceaccount:"

func accountRef(namespace, name string) txn.Ref {
	return txn.Ref{Resource: serviceAccounts, Namespace: namespace, Name: name}
}

// Owner is the tenant that a file belongs to; empty for the source itself.
func (t *Tenancy) Owner(file string) string {
	for i := range t.spec.Tenants {
		if pathglob.Any(t.spec.Tenants[i].Paths, file) {
			return t.spec.Tenants[i].Name
		}
	}
	return ""
}

// Namespace is that of a tenant's objects which name none; empty when he has
// several.
func (t *Tenancy) Namespace(tenant string) string {
	if o, ok := t.tenants[tenant]; ok {
		return o.Namespace()
	}
	return t.spec.TargetNamespace
}

// Decryption is where a tenant's keys are; nil: he has none.
func (t *Tenancy) Decryption(tenant string) *v1alpha1.DecryptionSpec {
	if o, ok := t.tenants[tenant]; ok {
		return o.Decryption
	}
	return nil
}

// As is who the objects of a tenant, or of the source itself, are written as;
// nil: the engine.
func (t *Tenancy) As(tenant string) *txn.Identity {
	if as, ok := t.accounts[tenant]; ok {
		return as
	}
	return t.own
}

// whose is the tenant of an object, by the files that it is made of.
func (t *Tenancy) whose(o *render.Object) (string, error) {
	owners := slices.Clone(o.Owners)
	if owner := t.Owner(o.File); owner != "" && !slices.Contains(owners, owner) {
		owners = append(owners, owner)
	}
	switch len(owners) {
	case 0:
		return "", nil
	case 1:
		if t.tenants[owners[0]] == nil {
			return "", fmt.Errorf("was written by the tenant %q, which the source has no more", owners[0])
		}
		return owners[0], nil
	}
	return "", fmt.Errorf("is made of files of several tenants (%s): nobody's rights would be right for it; keep them apart", strings.Join(owners, ", "))
}

// refusal says why a tenant may not have an object; empty: he may.
func (t *Tenancy) refusal(w *wanted) string {
	tenant := t.tenants[w.entry.Tenant]
	if tenant == nil {
		return ""
	}
	switch {
	case w.entry.Group == v1alpha1.GroupName:
		return fmt.Sprintf("%s may not have objects of the group %s: they decide about the cluster's other sources", t.called(tenant.Name), v1alpha1.GroupName)
	case w.ref.Namespace == "" && w.ref.Resource == namespaces && permits(tenant, w.ref.Name):
	case w.ref.Namespace == "" && !tenant.ClusterResources && w.namespaced:
		return fmt.Sprintf("%s has several namespaces (%s): the object has to name one", t.called(tenant.Name), strings.Join(tenant.Namespaces, ", "))
	case w.ref.Namespace == "" && !tenant.ClusterResources:
		return fmt.Sprintf("%s may not have objects outside of namespaces", t.called(tenant.Name))
	case w.ref.Namespace != "" && !permits(tenant, w.ref.Namespace):
		return fmt.Sprintf("%s may not reach into the namespace %q, only into %s", t.called(tenant.Name), w.ref.Namespace, strings.Join(tenant.Namespaces, ", "))
	}
	for _, ref := range acts(&w.entry, w.object.Body) {
		if whose, ok := t.taken[ref]; ok && whose != tenant.Name {
			return fmt.Sprintf("%s may not use the service account %s/%s, as which %s acts", t.called(tenant.Name), ref.Namespace, ref.Name, t.called(whose))
		}
	}
	return ""
}

func (t *Tenancy) called(tenant string) string {
	if tenant == "" {
		return "the source itself"
	}
	return fmt.Sprintf("the tenant %q", tenant)
}

func permits(t *v1alpha1.Tenant, namespace string) bool {
	return slices.ContainsFunc(t.Namespaces, func(p string) bool {
		ok, err := path.Match(p, namespace)
		return ok && err == nil
	})
}

// acts are the service accounts that an object is, runs as or has a token of.
func acts(e *Entry, body *unstructured.Unstructured) []txn.Ref {
	if e.Group == "" && e.Kind == "ServiceAccount" {
		return []txn.Ref{e.Ref()}
	}
	if e.Group == "" && e.Kind == "Secret" {
		return []txn.Ref{accountRef(e.Namespace, body.GetAnnotations()["kubernetes.io/service-account.name"])}
	}
	return slices.DeleteFunc(needs(e, body.Object), func(r txn.Ref) bool { return r.Resource != serviceAccounts })
}

// act has every change made as whoever its object belongs to.
func (p *Plan) act(in *Input, t *Tenancy) {
	known := map[string]bool{}
	for i := range p.Hooks {
		p.knows(in, known, p.Hooks[i].As, p.Hooks[i].Ref, p.Hooks[i].Object.Origin())
	}
	for _, s := range p.Stages {
		for i := range s.Changes {
			c := &s.Changes[i]
			c.As = t.As(p.tenantOf(in, t, c))
			p.knows(in, known, c.As, c.Ref, c.Origin)
		}
	}
}

// knows makes sure that an account exists or comes with the plan. If not, that
// is a problem which may pass.
func (p *Plan) knows(in *Input, known map[string]bool, as *txn.Identity, of txn.Ref, origin string) {
	if as == nil || known[as.Name] {
		return
	}
	known[as.Name] = true
	namespace, name, _ := strings.Cut(strings.TrimPrefix(as.Name, userPrefix), ":")
	ref := accountRef(namespace, name)
	_, exists := in.View.Get(ref)
	if _, comes := p.Desired[ref]; exists || comes {
		return
	}
	file, line := v1alpha1.ParseOrigin(origin)
	p.Passing = true
	p.Problems = append(p.Problems, v1alpha1.Problem{File: file, Line: line, Object: of.String(), Message: fmt.Sprintf(
		"is to be written as the service account %s/%s, which does not exist", namespace, name)})
}

// tenantOf is the tenant whose object a change is about.
func (p *Plan) tenantOf(in *Input, t *Tenancy, c *txn.Change) string {
	if e, ok := p.Next.Entries[c.Ref]; ok && c.Verb != txn.Delete {
		return e.Tenant
	}
	if e, ok := in.Inventory.Entries[c.Ref]; ok && e.Tenant != "" {
		return e.Tenant
	}
	file, _ := v1alpha1.ParseOrigin(c.Origin)
	return t.Owner(file)
}
