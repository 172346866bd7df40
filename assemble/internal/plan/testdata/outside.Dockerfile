# syntax=docker/dockerfile:1
# What decant build does, as a Dockerfile.

FROM nginx
# the context is /home/me/dist
COPY --chmod=u=rwX,go=rX ./ /
