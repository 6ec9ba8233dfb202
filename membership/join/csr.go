package join

import (
	"context"
	"errors"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// signBy has requests signed through the API: it creates a
// CertificateSigningRequest and waits for what becomes of it.
func signBy(c client.WithWatch, signer string, usage certificatesv1.KeyUsage) signFunc {
	return func(ctx context.Context, request []byte) ([]byte, error) {
		csr := &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "node-"},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				Request: request, SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, usage},
			},
		}
		if err := c.Create(ctx, csr); err != nil {
			return nil, fmt.Errorf("ask for a certificate: %w", err)
		}
		for {
			chain, err := settled(csr)
			if chain != nil || err != nil {
				return chain, err
			}
			if err := next(ctx, c, csr); err != nil {
				return nil, fmt.Errorf("wait for certificate request %q: %w", csr.Name, err)
			}
		}
	}
}

// settled gives the certificate, an error when there will be none, and neither
// while that is open.
func settled(csr *certificatesv1.CertificateSigningRequest) ([]byte, error) {
	for _, c := range csr.Status.Conditions {
		if c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed {
			return nil, fmt.Errorf("%w the certificate: %s", ErrRefused, c.Message)
		}
	}
	if len(csr.Status.Certificate) == 0 {
		return nil, nil
	}
	return csr.Status.Certificate, nil
}

// next brings csr to a later state. A watch that ended tells the state anew.
func next(ctx context.Context, c client.WithWatch, csr *certificatesv1.CertificateSigningRequest) error {
	w, err := c.Watch(ctx, &certificatesv1.CertificateSigningRequestList{}, &client.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, csr.Name),
		Raw:           &metav1.ListOptions{ResourceVersion: csr.ResourceVersion},
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case event := <-w.ResultChan():
		changed, ok := event.Object.(*certificatesv1.CertificateSigningRequest)
		switch {
		case ok && event.Type == "DELETED":
			return errors.New("it was deleted")
		case ok:
			*csr = *changed
			return nil
		}
	}
	return c.Get(ctx, client.ObjectKeyFromObject(csr), csr)
}
