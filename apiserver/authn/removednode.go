package authn

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/pki"
)

const (
	// RemovedNodeType is of the Secrets in kube-system that say since when the
	// certificates of a node are not believed any more.
	RemovedNodeType   = corev1.SecretType("headway.sh/removed-node")
	removedNodePrefix = "removed-node-"
	removedAt         = "removed-at"

	nodeUser  = "system:node:"
	nodeGroup = "system:nodes"
)

// RemovedNode is the record of a removal: what was signed for the node before it
// is worthless. A machine that joins under the name later gets another
// certificate.
func RemovedNode(node string, at time.Time) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: removedNodePrefix + node},
		Type:       RemovedNodeType, Data: map[string][]byte{removedAt: []byte(at.UTC().Truncate(time.Second).Format(time.RFC3339))},
	}
}

// IsRemovedNode tells whether a Secret has the name of such a record.
func IsRemovedNode(name string) bool { return strings.HasPrefix(name, removedNodePrefix) }

// nodeOf is the node that a certificate is of; empty: of none.
func nodeOf(c *x509.Certificate) string {
	node, ok := strings.CutPrefix(c.Subject.CommonName, nodeUser)
	if !ok || !slices.Contains(c.Subject.Organization, nodeGroup) {
		return ""
	}
	return node
}

// recordOf is the name of the Secret that decides whether a certificate is
// believed; empty: none does.
func recordOf(c *x509.Certificate) string {
	if isRecorded(c) {
		return UserCertificateName(c.SerialNumber)
	}
	if node := nodeOf(c); node != "" {
		return removedNodePrefix + node
	}
	return ""
}

// believed refuses what has been taken back.
func believed(view txn.View, c *x509.Certificate) error {
	if err := recorded(view, c); err != nil {
		return err
	}
	return removed(view, c)
}

// removed refuses the certificate of a node that was removed after it was
// signed. A record that cannot be read refuses too.
func removed(view txn.View, c *x509.Certificate) error {
	node := nodeOf(c)
	if node == "" {
		return nil
	}
	o, ok := view.Get(txn.Ref{Resource: secrets, Namespace: metav1.NamespaceSystem, Name: removedNodePrefix + node})
	if !ok {
		return nil
	}
	secret, ok := o.(*corev1.Secret)
	if !ok || secret.Type != RemovedNodeType {
		return nil
	}
	at, err := time.Parse(time.RFC3339, string(secret.Data[removedAt]))
	// A certificate says from when on it is valid, which is before it was signed.
	if signed := c.NotBefore.Add(pki.Backdate); err != nil || signed.Before(at) {
		return errors.New("the node has been removed; join the machine again, with a token")
	}
	return nil
}
