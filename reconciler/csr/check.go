package csr

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	nodeGroup      = "system:nodes"
	nodeUserPrefix = "system:node:"
	bootstrapGroup = "system:bootstrappers"
	admittedGroup  = bootstrapGroup + ":headway:admitted:"
)

// errUndecided says that a request is well formed, but that it is for a person
// to approve.
var errUndecided = errors.New("needs approval by a person")

// parse reads the certificate request in a CertificateSigningRequest.
func parse(c *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(c.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("spec.request is no PEM certificate request")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check request's signature: %w", err)
	}
	return request, nil
}

// signed tells the signers whose certificates are issued here.
func signed(signer string) bool {
	switch signer {
	case certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName:
		return true
	}
	return false
}

// check tells why an approved request cannot be signed.
func check(c *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) error {
	if c.Spec.SignerName == certificatesv1.KubeAPIServerClientSignerName {
		return usages(c, certificatesv1.UsageClientAuth)
	}
	_, err := shape(c, request)
	return err
}

// shape checks what every certificate of a node's signer must look like, and
// returns the node's name.
func shape(c *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) (string, error) {
	node, ok := strings.CutPrefix(request.Subject.CommonName, nodeUserPrefix)
	if !ok || node == "" {
		return "", fmt.Errorf("common name %q is not %sNAME", request.Subject.CommonName, nodeUserPrefix)
	}
	if !slices.Equal(request.Subject.Organization, []string{nodeGroup}) {
		return "", fmt.Errorf("organization %q is not %s", request.Subject.Organization, nodeGroup)
	}
	if len(request.EmailAddresses)+len(request.URIs) > 0 {
		return "", errors.New("mail addresses and URIs are not allowed")
	}
	names := len(request.DNSNames) + len(request.IPAddresses)
	switch c.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		if names > 0 {
			return "", errors.New("a client certificate has no DNS names or addresses")
		}
		return node, usages(c, certificatesv1.UsageClientAuth)
	case certificatesv1.KubeletServingSignerName:
		if names == 0 {
			return "", errors.New("a serving certificate needs a DNS name or address")
		}
		return node, usages(c, certificatesv1.UsageServerAuth)
	}
	return "", fmt.Errorf("unknown signer %q", c.Spec.SignerName)
}

func usages(c *certificatesv1.CertificateSigningRequest, needed certificatesv1.KeyUsage) error {
	allowed := []certificatesv1.KeyUsage{needed, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	for _, u := range c.Spec.Usages {
		if !slices.Contains(allowed, u) {
			return fmt.Errorf("usage %q is not allowed", u)
		}
	}
	if !slices.Contains(c.Spec.Usages, needed) {
		return fmt.Errorf("usages must include %q", needed)
	}
	if c.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName && !slices.Contains(c.Spec.Usages, certificatesv1.UsageDigitalSignature) {
		return fmt.Errorf("usages must include %q", certificatesv1.UsageDigitalSignature)
	}
	return nil
}

// Approve decides whether a request may be approved without a person: nil
// means yes, errUndecided leaves it alone, any other error denies it. known is
// the node's object, nil when there is none; alive tells whether it is heard.
func Approve(c *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest, known *corev1.Node, alive bool) error {
	if c.Spec.SignerName == certificatesv1.KubeAPIServerClientSignerName {
		return errUndecided // who somebody is, only a person knows
	}
	node, err := shape(c, request)
	if err != nil {
		return err
	}
	itself := c.Spec.Username == request.Subject.CommonName && slices.Contains(c.Spec.Groups, nodeGroup)
	if c.Spec.SignerName == certificatesv1.KubeletServingSignerName {
		if !itself {
			return fmt.Errorf("only node %q itself may ask for its serving certificate", node)
		}
		return addresses(request, known, node)
	}
	if itself {
		return nil
	}
	if !slices.Contains(c.Spec.Groups, bootstrapGroup) {
		return errUndecided
	}
	if !admits(c.Spec.Groups, node) {
		return fmt.Errorf("the join token was used for another name than %q", node)
	}
	if known != nil && (alive || registered(known)) {
		return fmt.Errorf("node %q is another machine's, which proves itself with its certificate; delete the node before its name is given to this one", node)
	}
	return nil
}

// registered tells whether a machine stands behind the object; one that a
// person has made ahead of the machine has none yet.
func registered(node *corev1.Node) bool { return node.Status.NodeInfo != corev1.NodeSystemInfo{} }

// admits tells whether a token with the groups may ask for the node's
// certificate: one whose uses are counted names the nodes that took them.
func admits(groups []string, node string) bool {
	counted := slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(g, admittedGroup) })
	return !counted || slices.Contains(groups, admittedGroup+node)
}

// addresses checks that a serving certificate names nothing but the node.
func addresses(request *x509.CertificateRequest, known *corev1.Node, node string) error {
	if known == nil {
		return errUndecided // the node is about to register; its next request decides
	}
	names, ips := []string{node}, []net.IP{}
	for _, a := range known.Status.Addresses {
		if ip := net.ParseIP(a.Address); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, a.Address)
		}
	}
	for _, name := range request.DNSNames {
		if !slices.Contains(names, name) {
			return fmt.Errorf("DNS name %q is not the node's", name)
		}
	}
	for _, ip := range request.IPAddresses {
		if !slices.ContainsFunc(ips, ip.Equal) {
			return fmt.Errorf("address %s is not the node's", ip)
		}
	}
	return nil
}
