# A node's programs, in the node's own namespaces.
set -e
dir=$1 name=$2 programs=$3 state=$4 address=$5
hostname "$name"
over() { mkdir -p "$2"; mount --bind "$dir/$1" "$2"; mount --make-shared "$2"; }
over kubelet /var/lib/kubelet
over containerd /var/lib/containerd
over cni-state /var/lib/cni
over run /run/containerd
over cni /etc/cni/net.d
over pods /var/log/pods
over ipam /run/cni-ipam
over netns /run/netns
over chaos /run/chaos
trap 'kill 0' TERM
containerd -c "$dir/containerd.toml" >"$dir/containerd.log" 2>&1 &
echo $! >"$dir/containerd.pid"
until [ -S /run/containerd/containerd.sock ]; do sleep 0.05; done
for image in "$state"/images/*.tar; do ctr -n k8s.io images import "$image" >/dev/null; done
"$programs/kube-proxy" --kubeconfig="$state/kubeconfig" --hostname-override="$name" --proxy-mode=nftables \
  --cluster-cidr=10.244.0.0/16 --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
  --conntrack-tcp-timeout-close-wait=0 >"$dir/kube-proxy.log" 2>&1 &
while :; do
  "$programs/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$state/kubeconfig" --hostname-override="$name" \
    --node-ip="$address" >>"$dir/kubelet.log" 2>&1 || true
  sleep 1
done
