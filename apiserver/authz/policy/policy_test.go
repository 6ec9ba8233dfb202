package policy_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authz/policy"
)

var update = flag.Bool("update", false, "record what every cluster begins with anew")

// TestEveryClusterBeginsWith lists all roles and bindings: whoever changes one
// sees in the golden file who gets which right.
func TestEveryClusterBeginsWith(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, o := range policy.Objects() {
		lines = append(lines, describe(o)...)
	}
	got, path := strings.Join(lines, "\n")+"\n", filepath.Join("testdata", "policy.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func describe(o txn.Object) []string {
	switch o := o.(type) {
	case *rbacv1.ClusterRole:
		return append([]string{"ClusterRole " + o.Name}, rules(o.Rules)...)
	case *rbacv1.Role:
		return append([]string{"Role " + o.Namespace + "/" + o.Name}, rules(o.Rules)...)
	case *rbacv1.ClusterRoleBinding:
		return []string{fmt.Sprintf("ClusterRoleBinding %s: %s to %s", o.Name, o.RoleRef.Name, subjects(o.Subjects))}
	case *rbacv1.RoleBinding:
		return []string{fmt.Sprintf("RoleBinding %s/%s: %s to %s", o.Namespace, o.Name, o.RoleRef.Name, subjects(o.Subjects))}
	}
	return []string{fmt.Sprintf("%T", o)}
}

func rules(all []rbacv1.PolicyRule) []string {
	var lines []string
	for _, r := range all {
		what := fmt.Sprintf("%s in %q", strings.Join(r.Resources, " "), strings.Join(r.APIGroups, " "))
		if len(r.NonResourceURLs) > 0 {
			what = strings.Join(r.NonResourceURLs, " ")
		}
		if len(r.ResourceNames) > 0 {
			what += " named " + strings.Join(r.ResourceNames, " ")
		}
		lines = append(lines, "  "+strings.Join(r.Verbs, " ")+": "+what)
	}
	return lines
}

func subjects(all []rbacv1.Subject) string {
	var texts []string
	for _, s := range all {
		texts = append(texts, strings.TrimSpace(s.Kind+" "+strings.TrimPrefix(s.Namespace+"/"+s.Name, "/")))
	}
	return strings.Join(texts, ", ")
}

// TestAggregatedRolesAreTheirSum: what the aggregation controller will make of
// admin, edit and view is what they begin with.
func TestAggregatedRolesAreTheirSum(t *testing.T) {
	t.Parallel()
	roles := map[string]*rbacv1.ClusterRole{}
	for _, o := range policy.Objects() {
		if r, ok := o.(*rbacv1.ClusterRole); ok {
			roles[r.Name] = r
		}
	}
	for _, name := range []string{"admin", "edit", "view"} {
		var sum []rbacv1.PolicyRule
		for _, s := range roles[name].AggregationRule.ClusterRoleSelectors {
			selector, err := metav1.LabelSelectorAsSelector(&s)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range roles {
				if r.Name != name && selector.Matches(labels.Set(r.Labels)) {
					sum = append(sum, r.Rules...)
				}
			}
		}
		if ok, missing := validation.Covers(sum, roles[name].Rules); !ok {
			t.Errorf("%s begins with more than its sum: %v", name, missing)
		}
		if ok, missing := validation.Covers(roles[name].Rules, sum); !ok {
			t.Errorf("%s begins with less than its sum: %v", name, missing)
		}
	}
}

// TestLabelsComeBack: a role that was made before it counted for a wider one
// gets the label, and keeps those that people gave it.
func TestLabelsComeBack(t *testing.T) {
	t.Parallel()
	all := map[txn.Ref]txn.Object{}
	for _, c := range policy.Changes(txn.Empty{}) {
		o := c.Object.DeepCopyObject().(txn.Object)
		if o.GetName() == "edit" {
			o.SetLabels(map[string]string{"team": "blue"})
		}
		all[c.Ref] = o
	}
	changes := policy.Changes(txn.Overlay(txn.Empty{}, all, nil))
	if len(changes) != 1 || changes[0].Verb != txn.Update {
		t.Fatalf("%d changes, want an update of one role", len(changes))
	}
	want := map[string]string{"team": "blue", "kubernetes.io/bootstrapping": "rbac-defaults", "rbac.authorization.k8s.io/aggregate-to-admin": "true"}
	if diff := cmp.Diff(want, changes[0].Object.GetLabels()); diff != "" {
		t.Errorf("labels (-want +got)\n%s", diff)
	}
}

// TestNamesAreKubernetes: the roles that manifests and people refer to by name
// are there, each bound where Kubernetes binds it.
func TestNamesAreKubernetes(t *testing.T) {
	t.Parallel()
	var names []string
	for _, o := range policy.Objects() {
		if strings.HasPrefix(o.GetName(), "headway:") || o.GetLabels()["kubernetes.io/bootstrapping"] != "rbac-defaults" {
			continue
		}
		names = append(names, o.GetName())
		if r, ok := o.(*rbacv1.ClusterRoleBinding); ok && !slices.Contains(names, r.RoleRef.Name) {
			t.Errorf("binding %s is of the role %q, which is not there", r.Name, r.RoleRef.Name)
		}
	}
	for _, name := range strings.Fields(`admin cluster-admin edit view
		system:aggregate-to-admin system:aggregate-to-edit system:aggregate-to-view system:auth-delegator system:basic-user
		system:certificates.k8s.io:certificatesigningrequests:nodeclient system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
		system:certificates.k8s.io:kube-apiserver-client-approver system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
		system:certificates.k8s.io:kubelet-serving-approver system:certificates.k8s.io:legacy-unknown-approver
		system:discovery system:kube-aggregator system:kube-controller-manager system:kube-dns system:kube-scheduler system:kubelet-api-admin
		system:monitoring system:node system:node-bootstrapper system:node-problem-detector system:node-proxier system:persistent-volume-provisioner
		system:public-info-viewer system:service-account-issuer-discovery system:volume-scheduler
		system:controller:attachdetach-controller system:controller:certificate-controller system:controller:clusterrole-aggregation-controller
		system:controller:cronjob-controller system:controller:daemon-set-controller system:controller:deployment-controller
		system:controller:disruption-controller system:controller:endpoint-controller system:controller:endpointslice-controller
		system:controller:endpointslicemirroring-controller system:controller:ephemeral-volume-controller system:controller:expand-controller
		system:controller:generic-garbage-collector system:controller:horizontal-pod-autoscaler system:controller:job-controller
		system:controller:legacy-service-account-token-cleaner system:controller:namespace-controller system:controller:node-controller
		system:controller:persistent-volume-binder system:controller:pod-garbage-collector system:controller:pv-protection-controller
		system:controller:pvc-protection-controller system:controller:replicaset-controller system:controller:replication-controller
		system:controller:resource-claim-controller system:controller:resourcequota-controller system:controller:root-ca-cert-publisher
		system:controller:route-controller system:controller:service-account-controller system:controller:service-cidrs-controller
		system:controller:service-controller system:controller:statefulset-controller system:controller:ttl-after-finished-controller
		system:controller:ttl-controller system:controller:validatingadmissionpolicy-status-controller
		system:controller:volumeattributesclass-protection-controller
		extension-apiserver-authentication-reader system::extension-apiserver-authentication-reader system:controller:bootstrap-signer
		system:controller:cloud-provider system:controller:token-cleaner system::leader-locking-kube-controller-manager system::leader-locking-kube-scheduler`) {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing", name)
		}
	}
}
