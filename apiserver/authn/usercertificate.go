package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
)

// Certificates of people are recorded as join tokens are: Secrets of this type
// in kube-system, named by the certificate's serial number.
const (
	UserCertificateType      = corev1.SecretType("headway.sh/user-certificate")
	UserCertificateNamespace = metav1.NamespaceSystem
	userCertificatePrefix    = "user-certificate-"
	// recordedURI is the name in a certificate that makes it worthless without
	// its record. The authority has signed it: nobody can take it out.
	recordedURI = "headway:recorded"
)

// Recorded marks a certificate, among its URIs, as one that is believed only
// as long as its record is there.
func Recorded() *url.URL { return &url.URL{Scheme: "headway", Opaque: "recorded"} }

// UserCertificate is what is recorded about a person's certificate.
type UserCertificate struct {
	// Serial is the certificate's number, in hexadecimal.
	Serial string
	User   string
	Groups []string
	// Issued and Expires are in whole seconds; IssuedBy is the user who made it.
	Issued, Expires time.Time
	IssuedBy        string
	// Fingerprint is the SHA-256 of the certificate, in hexadecimal.
	Fingerprint string
}

// NewUserCertificate describes a certificate.
func NewUserCertificate(c *x509.Certificate, by string, now time.Time) UserCertificate {
	sum := sha256.Sum256(c.Raw)
	return UserCertificate{Serial: c.SerialNumber.Text(16), User: c.Subject.CommonName, Groups: c.Subject.Organization,
		Issued: now.UTC().Truncate(time.Second), Expires: c.NotAfter.UTC(), IssuedBy: by, Fingerprint: hex.EncodeToString(sum[:])}
}

// UserCertificateName is the name of the record of the certificate with the
// serial number.
func UserCertificateName(serial *big.Int) string { return userCertificatePrefix + serial.Text(16) }

// Object is the Secret that is the record.
func (c UserCertificate) Object() (*corev1.Secret, error) {
	groups, err := json.Marshal(c.Groups)
	if err != nil {
		return nil, fmt.Errorf("record of the certificate of %q: %w", c.User, err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: UserCertificateNamespace, Name: userCertificatePrefix + c.Serial},
		Type:       UserCertificateType,
		Data: map[string][]byte{
			"serial": []byte(c.Serial), "user": []byte(c.User), "groups": groups, "fingerprint": []byte(c.Fingerprint),
			"issued": []byte(c.Issued.Format(time.RFC3339)), "expires": []byte(c.Expires.Format(time.RFC3339)), "issued-by": []byte(c.IssuedBy),
		},
	}, nil
}

// UserCertificateFrom reads a record.
func UserCertificateFrom(secret *corev1.Secret) (UserCertificate, error) {
	d := secret.Data
	c := UserCertificate{Serial: string(d["serial"]), User: string(d["user"]), IssuedBy: string(d["issued-by"]), Fingerprint: string(d["fingerprint"])}
	var issued, expires error
	c.Issued, issued = time.Parse(time.RFC3339, string(d["issued"]))
	c.Expires, expires = time.Parse(time.RFC3339, string(d["expires"]))
	if err := errors.Join(json.Unmarshal(d["groups"], &c.Groups), issued, expires); err != nil {
		return UserCertificate{}, fmt.Errorf("certificate record %s: %w", secret.Name, err)
	}
	return c, nil
}

// IsUserCertificate tells whether a Secret has the name of a record.
func IsUserCertificate(name string) bool { return strings.HasPrefix(name, userCertificatePrefix) }

// isRecorded tells whether a certificate is marked.
func isRecorded(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return u.String() == recordedURI })
}

// recorded refuses a certificate that is marked and has no record any more.
func recorded(view txn.View, c *x509.Certificate) error {
	if !isRecorded(c) {
		return nil
	}
	o, ok := view.Get(txn.Ref{Resource: secrets, Namespace: UserCertificateNamespace, Name: UserCertificateName(c.SerialNumber)})
	if ok {
		sum := sha256.Sum256(c.Raw)
		stored, isSecret := o.(*corev1.Secret)
		ok = isSecret && o.GetDeletionTimestamp() == nil && stored.Type == UserCertificateType && string(stored.Data["fingerprint"]) == hex.EncodeToString(sum[:])
	}
	if !ok {
		return errors.New("the certificate has been taken back")
	}
	return nil
}
