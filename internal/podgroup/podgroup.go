package podgroup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// Namespace is where the slices are. Who may write there may as well write
	// policies.
	Namespace = metav1.NamespaceSystem
	// ManagedBy is the value of the managed-by label of all of them.
	ManagedBy = "networkpolicy-controller.headway.sh"
	// Label names the group that a slice belongs to, by its Key.
	Label = "networking.headway.sh/pod-group"
)

// Key is a group's name, a valid label value and part of an object's name.
type Key string

// Group is pods that selectors find in the namespaces that others find.
type Group struct {
	// Namespace is the one namespace; empty: Namespaces says which.
	Namespace  string
	Namespaces labels.Selector
	Pods       labels.Selector
}

// All is every pod of the cluster. It is needed where a policy names a port of
// pods that it does not select.
func All() Group { return Group{Namespaces: labels.Everything(), Pods: labels.Everything()} }

// Of gives the group that a peer of a policy in a namespace speaks of; false
// for addresses, which are no group.
func Of(namespace string, peer *networkingv1.NetworkPolicyPeer) (Group, bool, error) {
	if peer.IPBlock != nil {
		return Group{}, false, nil
	}
	g := Group{Namespace: namespace, Pods: labels.Everything()}
	var err error
	if peer.PodSelector != nil {
		if g.Pods, err = metav1.LabelSelectorAsSelector(peer.PodSelector); err != nil {
			return Group{}, false, fmt.Errorf("pod selector: %w", err)
		}
	}
	if peer.NamespaceSelector != nil {
		g.Namespace = ""
		if g.Namespaces, err = metav1.LabelSelectorAsSelector(peer.NamespaceSelector); err != nil {
			return Group{}, false, fmt.Errorf("namespace selector: %w", err)
		}
	}
	return g, true, nil
}

// Key is the same for groups that say the same.
func (g Group) Key() Key {
	where := "in " + g.Namespace
	if g.Namespace == "" {
		where = "where " + g.Namespaces.String()
	}
	sum := sha256.Sum256([]byte(where + "\n" + g.Pods.String()))
	return Key(hex.EncodeToString(sum[:8]))
}

// Has tells whether a pod is in the group by its labels and its namespace's.
func (g Group) Has(namespace string, namespaceLabels, podLabels map[string]string) bool {
	if g.Namespace != "" {
		return g.Namespace == namespace && g.Pods.Matches(labels.Set(podLabels))
	}
	return g.Namespaces.Matches(labels.Set(namespaceLabels)) && g.Pods.Matches(labels.Set(podLabels))
}

// Needed are the groups that a node has to know in order to enforce a policy.
// Peers with selectors that cannot be read are left out: they match nobody.
func Needed(p *networkingv1.NetworkPolicy) map[Key]Group {
	all := map[Key]Group{}
	add := func(peers []networkingv1.NetworkPolicyPeer) (onlyGroups bool) {
		onlyGroups = len(peers) > 0
		for i := range peers {
			g, ok, err := Of(p.Namespace, &peers[i])
			onlyGroups = onlyGroups && ok
			if err == nil && ok {
				all[g.Key()] = g
			}
		}
		return onlyGroups
	}
	for i := range p.Spec.Ingress {
		add(p.Spec.Ingress[i].From)
	}
	for i := range p.Spec.Egress {
		if onlyGroups := add(p.Spec.Egress[i].To); !onlyGroups && namesPort(p.Spec.Egress[i].Ports) {
			all[All().Key()] = All()
		}
	}
	return all
}

func namesPort(ports []networkingv1.NetworkPolicyPort) bool {
	for _, p := range ports {
		if p.Port != nil && p.Port.Type == intstr.String {
			return true
		}
	}
	return false
}

// PortName is what a slice calls a container's named port.
func PortName(protocol corev1.Protocol, name string) string {
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	return strings.ToLower(string(protocol)) + "-" + name
}
