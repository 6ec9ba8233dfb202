package authz

import (
	"slices"

	"github.com/headway-sh/headway/api/txn"
)

// Attributes are what is asked for.
type Attributes struct {
	Verb        string
	Group       string
	Version     string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	// Path is set, and the resource fields are empty, for requests that are not
	// about resources.
	Path string
	// FieldSelector and LabelSelector narrow a list, a watch or a
	// deletecollection; may be empty. RBAC does not look at them.
	FieldSelector, LabelSelector string
}

// Authorizer answers; it is safe for concurrent use and holds no state.
type Authorizer struct{}

// Authorize tells whether the identity may, and why it may.
func (Authorizer) Authorize(view txn.View, id txn.Identity, a Attributes) (allowed bool, reason string) {
	if slices.Contains(id.Groups, groupMasters) {
		return true, ""
	}
	if node, ok := NodeName(id); ok {
		if decided, allowed := authorizeNode(view, node, a); decided {
			return allowed, "node " + node
		}
	}
	return authorizeRBAC(view, id, a)
}

const (
	groupMasters = "system:masters"
	groupNodes   = "system:nodes"
	userNode     = "system:node:"
)

// NodeName is the node that an identity is, if it is one.
func NodeName(id txn.Identity) (string, bool) {
	if len(id.Name) <= len(userNode) || id.Name[:len(userNode)] != userNode || !slices.Contains(id.Groups, groupNodes) {
		return "", false
	}
	return id.Name[len(userNode):], true
}
