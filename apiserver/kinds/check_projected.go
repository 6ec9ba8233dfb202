package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// projection checks one projected volume, in which no two sources may write the
// same file.
type projection struct {
	*checker
	volume *path
	files  nameSet
}

func (c *checker) projected(p *path, s *corev1.ProjectedVolumeSource) {
	c.mode(p, "defaultMode", s.DefaultMode)
	v := &projection{checker: c, volume: p}
	for i := range s.Sources {
		v.source(p.Child("sources").Index(i), &s.Sources[i])
	}
}

func (v *projection) source(p *path, s *corev1.VolumeProjection) {
	n := 0
	if s.Secret != nil {
		n++
		v.keys(p.Child("secret"), s.Secret.Name, s.Secret.Items)
	}
	if s.ConfigMap != nil {
		n++
		v.keys(p.Child("configMap"), s.ConfigMap.Name, s.ConfigMap.Items)
	}
	if s.DownwardAPI != nil {
		n++
		v.downwardItems(p.Child("downwardAPI"), s.DownwardAPI.Items)
		for i := range s.DownwardAPI.Items {
			v.file(s.DownwardAPI.Items[i].Path, s.DownwardAPI.Items[i].Path)
		}
	}
	if s.ServiceAccountToken != nil {
		n++
		v.token(p.Child("serviceAccountToken"), s.ServiceAccountToken)
	}
	if s.ClusterTrustBundle != nil {
		n++
		v.trustBundle(p.Child("clusterTrustBundle"), s.ClusterTrustBundle)
	}
	if s.PodCertificate != nil {
		n++
		v.certificate(p.Child("podCertificate"), s.PodCertificate)
	}
	if n > 1 {
		v.forbidden(p, "may not specify more than 1 volume type per source")
	}
}

// file notes a file; who is what an error names when it is there twice.
func (v *projection) file(name, who string) {
	if name != "" && !v.files.add(name) {
		v.invalid(v.volume, who, "conflicting duplicate paths")
	}
}

func (v *projection) keys(p *path, name string, items []corev1.KeyToPath) {
	if name == "" {
		v.required(p.Child("name"), "")
	}
	v.keyItems(p, items)
	for i := range items {
		v.file(items[i].Path, name)
	}
}

func (v *projection) token(p *path, t *corev1.ServiceAccountTokenProjection) {
	if s := t.ExpirationSeconds; s == nil {
		v.required(p.Child("expirationSeconds"), "")
	} else if *s < 10*60 {
		v.invalid(p.Child("expirationSeconds"), *s, "may not specify a duration less than 10 minutes")
	} else if *s > 1<<32 {
		v.invalid(p.Child("expirationSeconds"), *s, "may not specify a duration larger than 2^32 seconds")
	}
	// The volume's path, as it always was.
	if t.Path == "" {
		v.required(v.volume.Child("path"), "")
		return
	}
	v.local(v.volume.Child("path"), t.Path)
}

func (v *projection) trustBundle(p *path, b *corev1.ClusterTrustBundleProjection) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		v.invalid(p, b, "only one of name and signerName may be used")
	case b.Name != nil:
		if *b.Name == "" {
			v.required(p.Child("name"), "must be a valid object name")
		}
		for _, m := range validation.IsDNS1123Subdomain(*b.Name) {
			v.invalid(p.Child("name"), *b.Name, "not a valid clustertrustbundlename: "+m)
		}
		if b.LabelSelector != nil {
			v.invalid(p.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified")
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			v.required(p.Child("signerName"), "must be a valid signer name")
		}
		v.signerName(p.Child("signerName"), *b.SignerName)
		if b.LabelSelector != nil {
			v.add(metavalidation.ValidateLabelSelector(b.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, p.Child("labelSelector"))...)
		}
	default:
		v.required(p, "either name or signerName must be specified")
	}
	if b.Path == "" {
		v.required(p.Child("path"), "")
	}
	v.local(p.Child("path"), b.Path)
	if !v.files.add(b.Path) {
		v.invalid(v.volume, b.Path, "conflicting duplicate paths")
	}
}

var certificateKeys = []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}

// Bounds of a pod certificate's life, in seconds.
const (
	minCertificateLife = 3600
	maxCertificateLife = 91 * 86400
)

func (v *projection) certificate(p *path, s *corev1.PodCertificateProjection) {
	v.signerName(p.Child("signerName"), s.SignerName)
	for key := range s.UserAnnotations {
		for _, m := range validation.IsQualifiedName(key) {
			v.invalid(p.Child("userAnnotations").Key(key), key, m)
		}
	}
	if !slices.Contains(certificateKeys, s.KeyType) {
		v.add(field.NotSupported(p.Child("keyType"), s.KeyType, certificateKeys))
	}
	if m := s.MaxExpirationSeconds; m != nil {
		if *m < minCertificateLife {
			v.invalid(p.Child("maxExpirationSeconds"), *m, "if provided, maxExpirationSeconds must be >= 3600")
		} else if *m > maxCertificateLife {
			v.invalid(p.Child("maxExpirationSeconds"), *m, "if provided, maxExpirationSeconds must be <= 7862400")
		}
	}
	if s.CredentialBundlePath == "" && s.KeyPath == "" && s.CertificateChainPath == "" {
		v.required(p, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
	}
	for _, f := range [...]struct{ name, path string }{
		{"credentialBundlePath", s.CredentialBundlePath}, {"keyPath", s.KeyPath}, {"certificateChainPath", s.CertificateChainPath},
	} {
		if f.path != "" {
			v.local(p.Child(f.name), f.path)
			v.file(f.path, f.path)
		}
	}
}
