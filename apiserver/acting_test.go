package apiserver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver"
)

const deployer = "system:serviceaccount:default:deployer"

func madeAs(name, who string) txn.Change {
	return txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: configMaps, Namespace: "default", Name: name}, Version: "v1",
		Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}, As: &txn.Identity{Name: who}}
}

// deployerBinding lets the service account deployer edit the namespace default.
func deployerBinding() txn.Change {
	return txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: rbacv1.Resource("rolebindings"), Namespace: "default", Name: "deployer"}, Version: "v1", Object: &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "deployer"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "deployer"}},
	}}
}

// TestEachChangeHasItsOwnRights: a change that is made as somebody else has
// that one's rights, those of bindings in the same transaction included, and
// wants the right to impersonate him.
func TestEachChangeHasItsOwnRights(t *testing.T) {
	t.Parallel()
	server := start(t)
	bindRole(t, server, "planner", "headway:transaction-planner")
	bindRole(t, server, "planner", "cluster-admin")
	bindRole(t, server, "mallory", "headway:transaction-planner")
	bindRole(t, server, "mallory", "view")
	view := func(db txn.Interface) txn.View {
		v, err := db.View(t.Context())
		check(t, err)
		return v
	}
	for name, db := range map[string]txn.Interface{
		"in process": server.Peer(txn.Identity{Name: "planner"}).Txn(),
		"over HTTPS": overHTTPS(t, server, "planner", nil, configMaps),
	} {
		r, err := db.Plan(t.Context(), view(db), txn.Identity{Name: "planner"}, []txn.Change{madeAs("early", deployer), deployerBinding(), madeAs("late", deployer)})
		check(t, err)
		if err := r.Outcomes[0].Err; !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "`+deployer+`" cannot create resource "configmaps"`) {
			t.Errorf("%s, without a right: %v", name, err)
		}
		if err := r.Outcomes[2].Err; err != nil {
			t.Errorf("%s, with a right of the same transaction: %v", name, err)
		}
	}
	for name, db := range map[string]txn.Interface{
		"in process": server.Peer(txn.Identity{Name: "mallory"}).Txn(),
		"over HTTPS": overHTTPS(t, server, "mallory", nil, configMaps),
	} {
		for who, what := range map[string]string{deployer: "serviceaccounts", "root": "users"} {
			r, err := db.Plan(t.Context(), view(db), txn.Identity{Name: "mallory"}, []txn.Change{madeAs("stolen", who)})
			check(t, err)
			if err := r.Outcomes[0].Err; !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "mallory" cannot impersonate resource "`+what+`"`) {
				t.Errorf("%s, as %s: %v", name, who, err)
			}
		}
	}
}

// TestWhoActedIsAudited: a transaction's changes as somebody else are in the
// log as his.
func TestWhoActedIsAudited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	check(t, os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600))
	server, stop := startIn(t, dir, func(c *apiserver.Config) { c.Audit = apiserver.AuditConfig{Policy: policy} })
	inside := server.Peer(txn.Identity{Name: "inside", Groups: []string{"system:masters"}}).Txn()
	_, _, err := txn.Run(t.Context(), inside, txn.Identity{}, txn.CommitOptions{}, func(txn.View) ([]txn.Change, error) {
		return []txn.Change{deployerBinding(), madeAs("one", deployer), madeAs("two", deployer)}, nil
	})
	check(t, err)
	var got []string
	for _, e := range auditLog(t, dir, stop) {
		if e.User.Username != "inside" {
			continue
		}
		line := e.Verb + ": " + e.Annotations["txn.headway.sh/objects"]
		if as := e.ImpersonatedUser; as != nil {
			line = as.Username + " (" + strings.Join(as.Groups, " ") + ") " + line
		}
		got = append(got, line)
	}
	want := []string{
		"commit: create rolebindings.rbac.authorization.k8s.io default/deployer; create configmaps default/one default/two",
		deployer + " (system:serviceaccounts system:serviceaccounts:default system:authenticated) commit: create configmaps default/one default/two",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
