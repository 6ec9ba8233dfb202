package admission_test

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
)

// addressed writes a Service in short: "policy families addresses", with a
// hyphen for nothing and commas between.
func addressed(text string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Spec.Selector = map[string]string{"app": "web"}
	parts := strings.Fields(text)
	if parts[0] != "-" {
		s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicy(parts[0]))
	}
	if parts[1] != "-" {
		for _, f := range strings.Split(parts[1], ",") {
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPFamily(f))
		}
	}
	if parts[2] != "-" {
		s.Spec.ClusterIPs = strings.Split(parts[2], ",")
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	}
	return s
}

// described is the way back; an address counts by the range it is in.
func described(s *corev1.Service) string {
	var families, addresses []string
	for _, f := range s.Spec.IPFamilies {
		families = append(families, string(f))
	}
	for _, text := range s.Spec.ClusterIPs {
		ip, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			addresses = append(addresses, text)
		case netip.MustParsePrefix("10.96.0.0/24").Contains(ip):
			addresses = append(addresses, "four")
		case netip.MustParsePrefix("fd00::/112").Contains(ip):
			addresses = append(addresses, "six")
		default:
			addresses = append(addresses, ip.String())
		}
	}
	or := func(list []string) string {
		if len(list) == 0 {
			return "-"
		}
		return strings.Join(list, ",")
	}
	return string(ptr.Deref(s.Spec.IPFamilyPolicy, "-")) + " " + or(families) + " " + or(addresses)
}

func TestFamiliesOfServices(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		old, wants  string
		single      bool
		selectsNone bool
		want, err   string
	}{
		"nothing said":                     {wants: "- - -", want: "SingleStack IPv4 four"},
		"nothing said, one family":         {wants: "- - -", single: true, want: "SingleStack IPv4 four"},
		"the other family":                 {wants: "- IPv6 -", want: "SingleStack IPv6 six"},
		"a family by its address":          {wants: "- - fd00::9", want: "SingleStack IPv6 six"},
		"two families":                     {wants: "- IPv6,IPv4 -", want: "RequireDualStack IPv6,IPv4 six,four"},
		"two addresses":                    {wants: "- - 10.96.0.9,fd00::9", want: "RequireDualStack IPv4,IPv6 four,six"},
		"prefers two":                      {wants: "PreferDualStack - -", want: "PreferDualStack IPv4,IPv6 four,six"},
		"prefers two, one family":          {wants: "PreferDualStack - -", single: true, want: "PreferDualStack IPv4 four"},
		"requires two":                     {wants: "RequireDualStack IPv6 -", want: "RequireDualStack IPv6,IPv4 six,four"},
		"requires two, one family":         {wants: "RequireDualStack - -", single: true, err: "this cluster is not configured for dual-stack services"},
		"a family that is not there":       {wants: "- IPv6 -", single: true, err: `spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster`},
		"single with two":                  {wants: "SingleStack IPv4,IPv6 -", err: "must be RequireDualStack or PreferDualStack"},
		"address of another family":        {wants: "- IPv4 fd00::9", err: "expected an IPv4 value as indicated by `ipFamilies[0]`"},
		"headless":                         {wants: "PreferDualStack - None", want: "PreferDualStack IPv4,IPv6 None"},
		"headless without a selector":      {wants: "- - None", single: true, selectsNone: true, want: "RequireDualStack IPv4,IPv6 None"},
		"headless, single, no selector":    {wants: "SingleStack - None", selectsNone: true, want: "SingleStack IPv4 None"},
		"becomes dual":                     {old: "SingleStack IPv4 10.96.0.9", wants: "PreferDualStack - 10.96.0.9", want: "PreferDualStack IPv4,IPv6 four,six"},
		"becomes single":                   {old: "PreferDualStack IPv4,IPv6 10.96.0.9,fd00::9", wants: "SingleStack - -", want: "SingleStack IPv4 four"},
		"becomes single, all written out":  {old: "PreferDualStack IPv4,IPv6 10.96.0.9,fd00::9", wants: "SingleStack IPv4,IPv6 10.96.0.9,fd00::9", want: "SingleStack IPv4 four"},
		"an update that leaves it all out": {old: "PreferDualStack IPv4,IPv6 10.96.0.9,fd00::9", wants: "- - -", want: "PreferDualStack IPv4,IPv6 four,six"},
		"out of range":                     {wants: "- - 10.200.0.1", err: "is not in the valid range. The range of valid IPs is 10.96.0.0/24"},
		"the network's own":                {wants: "- - 10.96.0.0", err: "is not in the valid range"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := admission.Config{ServiceCIDR: netip.MustParsePrefix("10.96.0.0/24"), SecondaryServiceCIDR: netip.MustParsePrefix("fd00::/112")}
			if tc.single {
				config.SecondaryServiceCIDR = netip.Prefix{}
			}
			s := addressed(tc.wants)
			if tc.selectsNone {
				s.Spec.Selector = nil
			}
			var old txn.Object
			var there []txn.Object
			if tc.old != "" {
				before := addressed(tc.old)
				old = before
				for _, ip := range before.Spec.ClusterIPs {
					there = append(there, &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: ip}})
				}
			}
			err := stepOf(t, config, "ServiceAddresses", view(t, there...), request(t, s, old))
			switch {
			case tc.err != "":
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want %s", err, tc.err)
				}
			case err != nil:
				t.Error(err)
			case described(s) != tc.want:
				t.Errorf("got %s, want %s", described(s), tc.want)
			}
		})
	}
}

// TestServiceCIDRsAddAddresses fills the server's own range and goes on with a
// ServiceCIDR's, but not with one that is on its way out.
func TestServiceCIDRsAddAddresses(t *testing.T) {
	t.Parallel()
	config := admission.Config{ServiceCIDR: netip.MustParsePrefix("10.96.0.0/29")}
	var there []txn.Object
	for _, ip := range []string{"10.96.0.2", "10.96.0.3", "10.96.0.4", "10.96.0.5", "10.96.0.6"} {
		there = append(there, &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: ip}})
	}
	more := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.97.0.0/24"}}}
	r := request(t, addressed("- - -"), nil)
	if err := stepOf(t, config, "ServiceAddresses", view(t, append(there, more)...), r); err != nil {
		t.Fatal(err)
	}
	if ip := netip.MustParseAddr(r.Object.(*corev1.Service).Spec.ClusterIP); !netip.MustParsePrefix("10.97.0.0/24").Contains(ip) {
		t.Errorf("the address is %s", ip)
	}
	more = more.DeepCopy()
	more.DeletionTimestamp = &metav1.Time{}
	err := stepOf(t, config, "ServiceAddresses", view(t, append(there, more)...), request(t, addressed("- - -"), nil))
	if err == nil || !strings.Contains(err.Error(), "range is full") {
		t.Errorf("got %v", err)
	}
}
